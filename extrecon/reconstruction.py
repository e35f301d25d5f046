"""Accumulators -> half-map, with the result RELION's own program would give.

The insertion of images into Fourier space leaves two sums on a grid padded by a factor p: the data and the
weights. The half-map is their ratio, with three refinements:

- the MAP term: the expected signal power tau² damps what is poorly determined
  (Scheres, J. Struct. Biol. 180, 519, 2012);
- gridding weights, which undo the uneven sampling (`extrecon.fourier.gridding`);
- a soft spherical mask and the division by the interpolation kernel's footprint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from extrecon.errors import InputError
from extrecon.fourier import gridding
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import (
    crop_around_origin,
    full_axis,
    round_half_up,
    squared_radius,
    window_full_axis,
    window_half_axis,
)
from extrecon.relion.accumulators import AccumulatorFiles
from extrecon.relion.job import Job

SMALLEST_WEIGHT = 1e-20
MASK_EDGE_PX = 3.0
LARGEST_PADDING = 100
# What the MAP term may add at most: far beyond what any data weighs, and a grid's sum of it is still a number.
LARGEST_MAP_TERM = 1e280
_LARGEST_SINGLE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Geometry:
    """Sizes of one reconstruction.

    Attributes
    ----------
    original_size : n, edge of the half-map, px
    current_size : edge of the images that RELION used in this iteration, px; it limits the resolution
    padding_factor : p, at least 1
    dimensions : 3, or 2 for the references of a 2D classification
    """

    original_size: int
    current_size: int
    padding_factor: float
    dimensions: int = 3

    def __post_init__(self) -> None:
        if self.original_size < 2 or self.current_size < 2:
            raise InputError(
                f"Image sizes must be at least 2 px, but the original is {self.original_size} px "
                f"and the current one {self.current_size} px."
            )
        if not 1 <= self.padding_factor <= LARGEST_PADDING:
            raise InputError(f"The padding factor must be 1 to {LARGEST_PADDING}, not {self.padding_factor}.")
        if self.dimensions not in (2, 3):
            raise InputError(f"References have 2 or 3 dimensions, not {self.dimensions}.")

    @property
    def largest_shell(self) -> int:
        """Largest Fourier shell of the unpadded map that the images reach."""
        return min(self.current_size // 2, self.original_size // 2)

    @property
    def radius(self) -> int:
        """R, the same on the padded grid: nothing counts at or beyond it."""
        return round_half_up(self.padding_factor * self.largest_shell)

    @property
    def window(self) -> int:
        """P, the edge of the padded grid cut down to what counts; odd."""
        return 2 * (self.radius + 1) + 1

    @property
    def padded_size(self) -> int:
        """Edge of RELION's accumulators."""
        return round_half_up(self.padding_factor * self.original_size)

    @property
    def accumulator_shape(self) -> tuple[int, ...]:
        """Shape of RELION's half-complex accumulators."""
        n = self.padded_size
        return (n,) * (self.dimensions - 1) + (n // 2 + 1,)

    @property
    def volume_factor(self) -> float:
        """Padded grid points per unpadded one: p³, or p² in 2D."""
        return float(self.padding_factor**self.dimensions)


class Accumulators(Protocol):
    """What a reconstruction reads: three half-complex arrays of `Geometry.accumulator_shape`, in FFT order."""

    def weight(self) -> npt.NDArray[np.float32]:
        """Return the sum of the CTF² (and noise) weights."""

    def data_real(self) -> npt.NDArray[np.float32]:
        """Return the real part of the weighted sum of the images."""

    def data_imag(self) -> npt.NDArray[np.float32]:
        """Return its imaginary part."""


def reconstruct(
    accumulators: Accumulators,
    geometry: Geometry,
    *,
    tau2: npt.NDArray[np.float64] | None,
    tau2_fudge: float = 1.0,
    iterate_gridding: bool = True,
    compute: Compute,
) -> npt.NDArray[np.float32]:
    """Return the map that the accumulators hold, (n, n, n) with axes z, y, x, or (n, n) with axes y, x.

    Parameters
    ----------
    accumulators : where the three sums come from; each is read when it is needed and let go
    geometry : sizes
    tau2 : (shells,) expected signal power per Fourier shell of the unpadded map; None leaves the MAP term out
    tau2_fudge : RELION's T, above 0
    iterate_gridding : iterate the gridding weights; else divide by the weights, kept away from zero
    compute : where to work

    Raises
    ------
    InputError : an accumulator's shape is not the one that the sizes and the padding ask for; or T is not above 0.

    Notes
    -----
    The result depends smoothly on the accumulators as long as tau2 is above 0 in every shell within reach. Where
    it is 0, weights of 1000 / weight stand beside ordinary ones, and gridding amplifies rounding: RELION's own
    result then changes in the third digit when its input changes in the fourteenth.
    """
    if not (math.isfinite(tau2_fudge) and tau2_fudge > 0):
        raise InputError(f"The tau2 fudge factor must be a number above 0, not {tau2_fudge}.")
    weight = _weight_with_map_term(accumulators, tau2, tau2_fudge, geometry, compute)
    ratio = (
        _gridded_ratio(weight, geometry, compute) if iterate_gridding else _plain_ratio(weight, geometry, compute)
    )
    del weight
    # Nested, so that no name here keeps the spectrum alive while it shrinks.
    values = _to_real_space(_spectrum(accumulators, ratio, geometry, compute), geometry, compute)
    return _mask_and_correct(values, geometry, compute)


def reconstruct_job(
    job: Job, *, use_map: bool = True, iterate_gridding: bool = True, compute: Compute
) -> npt.NDArray[np.float32]:
    """Return the map of one of RELION's jobs; parameters, errors and result as in `reconstruct`.

    Parameters
    ----------
    use_map : leave the MAP term out, or take it in if the job has a tau2 table
    """
    geometry = Geometry(job.original_size, job.current_size, job.padding_factor, job.dimensions)
    return reconstruct(
        AccumulatorFiles(job, geometry.accumulator_shape),
        geometry,
        tau2=job.tau2 if use_map else None,
        tau2_fudge=job.tau2_fudge,
        iterate_gridding=iterate_gridding,
        compute=compute,
    )


def map_damping_of_job(job: Job, *, compute: Compute) -> npt.NDArray[np.float64]:
    """Return `map_damping` of one of RELION's jobs; 1 where it has no tau2 table."""
    geometry = Geometry(job.original_size, job.current_size, job.padding_factor, job.dimensions)
    if job.tau2 is None:
        return np.ones(geometry.original_size // 2 + 1)
    files = AccumulatorFiles(job, geometry.accumulator_shape)
    return map_damping(files, geometry, tau2=job.tau2, tau2_fudge=job.tau2_fudge, compute=compute)


def map_damping(
    accumulators: Accumulators,
    geometry: Geometry,
    *,
    tau2: npt.NDArray[np.float64],
    tau2_fudge: float,
    compute: Compute,
) -> npt.NDArray[np.float64]:
    """Return by how much the MAP term damps each shell of the map, on average, (n // 2 + 1,): W / (W + 1 / tau2).

    Parameters
    ----------
    accumulators : the weights W alone are read
    geometry, tau2, tau2_fudge, compute : as in `reconstruct`

    Returns
    -------
    0 to 1; 0 beyond what the images reach
    """
    xp = compute.xp
    weight = _window(accumulators.weight(), geometry, compute)
    axes = _frequencies(geometry, compute)
    term = compute.to_device(np.maximum(_map_term(tau2, tau2_fudge, geometry), 0.0))
    shell_of_square = compute.to_device(_shell_of_square(geometry, offset=0.5))
    shells = geometry.original_size // 2 + 1
    sums: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []

    def add_up(slab: slice) -> None:
        k2 = _slab_of_squares(axes, slab)
        counted = (k2 < geometry.radius**2) & (weight[slab] > 0)
        here = xp.astype(weight[slab][counted], xp.float64)
        shell = shell_of_square[k2[counted]]
        kept = xp.bincount(shell, weights=here / (here + term[k2[counted]]), minlength=shells)
        found = xp.bincount(shell, minlength=shells)
        sums.append((compute.to_numpy(kept)[:shells], compute.to_numpy(found)[:shells]))

    compute.over_slabs(add_up, weight.shape[0])
    total = np.sum([kept for kept, _ in sums], axis=0)
    count = np.sum([found for _, found in sums], axis=0)
    damping: npt.NDArray[np.float64] = np.divide(total, count, out=np.zeros(shells), where=count > 0)
    return damping


def _window(array: npt.NDArray[np.float32], geometry: Geometry, compute: Compute) -> Array:
    """Lay an accumulator on the window's (P, …, P // 2 + 1) points, zero at and beyond R on each axis."""
    if array.shape != geometry.accumulator_shape:
        found, wanted = ("×".join(map(str, shape)) for shape in (array.shape, geometry.accumulator_shape))
        raise InputError(
            f"An accumulator is {found} points, but an image of {geometry.original_size} px with padding "
            f"{geometry.padding_factor:g} has {wanted}."
        )
    radius, size, last = geometry.radius, geometry.window, geometry.dimensions - 1
    windowed = window_half_axis(compute.to_device(array), last, radius, size // 2 + 1, compute)
    for axis in range(last):
        windowed = window_full_axis(windowed, axis, radius, size, compute)
    return windowed


def _frequencies(geometry: Geometry, compute: Compute) -> list[Array]:
    """Return the integer frequencies of the window's axes; the last is halved."""
    size = geometry.window
    full = compute.to_device(full_axis(size))
    return [full] * (geometry.dimensions - 1) + [full[: size // 2 + 1]]


def _slab_of_squares(axes: list[Array], slab: slice) -> Array:
    return squared_radius([axes[0][slab], *axes[1:]])


def _weight_with_map_term(
    accumulators: Accumulators,
    tau2: npt.NDArray[np.float64] | None,
    tau2_fudge: float,
    geometry: Geometry,
    compute: Compute,
) -> Array:
    """Return the window of the weights with the MAP term added, float64, 0 at and beyond R."""
    xp = compute.xp
    # Where the sum falls steeply, gridding feels the last digits of the large weights in the small ones.
    weight = xp.astype(_window(accumulators.weight(), geometry, compute), xp.float64)
    axes = _frequencies(geometry, compute)
    term = None if tau2 is None else _map_term(tau2, tau2_fudge, geometry)
    some_shell_is_empty = term is not None and bool((term < 0).any())
    term_on_device = None if term is None else compute.to_device(term)

    def prepare(slab: slice) -> None:
        k2 = _slab_of_squares(axes, slab)
        here = weight[slab]
        if term_on_device is not None:
            added = term_on_device[xp.clip(k2, None, geometry.radius**2 - 1)]
            if some_shell_is_empty:
                held = 1.0 / (0.001 * xp.clip(here, SMALLEST_WEIGHT, None))
                added = xp.where(added < 0, xp.where(here > SMALLEST_WEIGHT, held, 0.0), added)
            here = here + added
        weight[slab] = xp.where(k2 < geometry.radius**2, here, 0.0)

    compute.over_slabs(prepare, weight.shape[0])
    return weight


def _shell_of_square(geometry: Geometry, *, offset: float) -> npt.NDArray[np.int64]:
    """Return floor(k / p + offset), the unpadded Fourier shell, for each squared radius k² below R²."""
    distance = np.sqrt(np.arange(geometry.radius**2)) / geometry.padding_factor
    return np.floor(distance + offset).astype(np.int64)


def _map_term(tau2: npt.NDArray[np.float64], tau2_fudge: float, geometry: Geometry) -> npt.NDArray[np.float64]:
    """Return what the MAP term adds to the weight at each squared radius below R²; −1 where tau2 is 0.

    RELION's own program divides by as little as comes, and gives NaN where that overflows. Here so little signal
    empties its shell, as a little more does.
    """
    shell = _shell_of_square(geometry, offset=0.5)
    known = np.zeros(shell[-1] + 1)
    known[: tau2.size] = tau2[: known.size]
    with np.errstate(over="ignore"):  # so much signal adds nothing to the weight
        signal = geometry.volume_factor * tau2_fudge * known
    signal = np.maximum(signal, 1.0 / LARGEST_MAP_TERM)
    per_shell = np.divide(1.0, signal, out=np.full(known.size, -1.0), where=known > 0)
    by_square: npt.NDArray[np.float64] = per_shell[shell]
    return by_square


def _gridded_ratio(weight: Array, geometry: Geometry, compute: Compute) -> Array:
    """Return the factor u that turns data into the gridded transform; 0 where nothing was measured."""
    xp = compute.xp
    period = geometry.original_size * geometry.padding_factor
    before = xp.zeros_like(weight, dtype=xp.float32)

    def keep(slab: slice) -> None:
        before[slab] = xp.clip(weight[slab], None, _LARGEST_SINGLE)

    compute.over_slabs(keep, weight.shape[0])
    ratio = xp.astype(gridding.even_out(weight, period, compute), xp.float32, copy=False)

    def divide(slab: slice) -> None:
        counted = before[slab] > 0
        ratio[slab] = xp.where(counted, ratio[slab] / xp.where(counted, before[slab], 1.0), 0.0)

    compute.over_slabs(divide, ratio.shape[0])
    return ratio


def _plain_ratio(weight: Array, geometry: Geometry, compute: Compute) -> Array:
    """Return 1 / max(weight, a thousandth of its shell's mean) within R, 0 elsewhere."""
    xp = compute.xp
    axes = _frequencies(geometry, compute)
    shell_of_square = compute.to_device(_shell_of_square(geometry, offset=0.0))
    shells = geometry.largest_shell + 1
    sums: list[tuple[Array, Array]] = []

    def add_up(slab: slice) -> None:
        k2 = _slab_of_squares(axes, slab)
        within = k2 < geometry.radius**2
        shell = shell_of_square[k2[within]]
        total = xp.bincount(shell, weights=weight[slab][within], minlength=shells)
        sums.append((total, xp.bincount(shell, minlength=shells)))

    def invert(slab: slice) -> None:
        k2 = _slab_of_squares(axes, slab)
        lowest = floor[shell_of_square[xp.clip(k2, None, geometry.radius**2 - 1)]]
        divisor = xp.where(weight[slab] > lowest, weight[slab], lowest)
        usable = (k2 < geometry.radius**2) & (divisor > 0)
        ratio[slab] = xp.where(usable, 1.0 / xp.where(usable, divisor, 1.0), 0.0)

    compute.over_slabs(add_up, weight.shape[0])
    floor = sum(total for total, _ in sums) / xp.clip(sum(count for _, count in sums), 1, None) / 1000
    ratio = xp.zeros_like(weight, dtype=xp.float32)
    compute.over_slabs(invert, weight.shape[0])
    return ratio


def _spectrum(accumulators: Accumulators, ratio: Array, geometry: Geometry, compute: Compute) -> Array:
    """Return data · ratio on the window, complex64."""
    xp = compute.xp
    spectrum = xp.astype(_window(accumulators.data_real(), geometry, compute), xp.complex64)
    imag = _window(accumulators.data_imag(), geometry, compute)

    def combine(slab: slice) -> None:
        spectrum[slab] += 1j * imag[slab]
        spectrum[slab] *= ratio[slab]

    compute.over_slabs(combine, spectrum.shape[0])
    return spectrum


def _to_real_space(spectrum: Array, geometry: Geometry, compute: Compute) -> Array:
    """Transform the window to the central (n, …) crop of the padded image.

    Each axis is cropped as soon as it is transformed, so that the padded image never exists as a whole.
    """
    n, last = geometry.original_size, geometry.dimensions - 1
    padded = geometry.padded_size + geometry.padded_size % 2
    for axis in range(last):
        spectrum = window_full_axis(spectrum, axis, geometry.radius, padded, compute)
        spectrum = crop_around_origin(compute.ifftn(spectrum, (axis,)), axis, n, compute)
    spectrum = window_half_axis(spectrum, last, geometry.radius, padded // 2 + 1, compute)
    values = crop_around_origin(compute.irfftn(spectrum, (padded,), (last,)), last, n, compute)
    # The accumulators hold unnormalised transforms: undo the division by the padded volume that ifftn makes.
    unnormalised = float(padded) ** geometry.dimensions
    return values * (unnormalised / (geometry.volume_factor * (n if geometry.dimensions == 3 else 1)))


def _mask_and_correct(values: Array, geometry: Geometry, compute: Compute) -> npt.NDArray[np.float32]:
    """Put the mean of the surroundings outside a soft sphere and undo the interpolation's footprint.

    Projections are read from the padded transform by trilinear interpolation; in real space that multiplies
    the map by sinc²(r / (n p)).
    """
    n = geometry.original_size
    squared = squared_radius([np.arange(n) - n // 2] * geometry.dimensions)
    distance = np.sqrt(np.arange(int(squared.max()) + 1))
    edge = np.clip((distance - n / 2) / MASK_EDGE_PX, 0.0, 1.0)
    outside = (0.5 - 0.5 * np.cos(np.pi * edge))[squared]
    correction = (1.0 / np.sinc(distance / (n * geometry.padding_factor)) ** 2)[squared]
    host: npt.NDArray[np.float64] = compute.to_numpy(values).astype(np.float64)
    surroundings = float((host * outside).sum() / outside.sum())
    host += (surroundings - host) * outside
    return (host * correction).astype(np.float32)
