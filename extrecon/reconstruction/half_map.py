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

import numpy as np
import numpy.typing as npt

from extrecon.errors import InputError
from extrecon.fourier import gridding
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import crop_around_origin, squared_radius, window_full_axis, window_half_axis
from extrecon.reconstruction.grid import (
    Accumulators,
    Geometry,
    frequencies,
    shell_of_square,
    slab_of_squares,
    window,
)
from extrecon.reconstruction.map_term import weight_with_map_term

MASK_EDGE_PX = 3.0
_LARGEST_SINGLE = float(np.finfo(np.float32).max)


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
    weight = weight_with_map_term(accumulators, tau2, tau2_fudge, geometry, compute)
    ratio = (
        _gridded_ratio(weight, geometry, compute) if iterate_gridding else _plain_ratio(weight, geometry, compute)
    )
    del weight
    # Nested, so that no name here keeps the spectrum alive while it shrinks.
    values = _to_real_space(_spectrum(accumulators, ratio, geometry, compute), geometry, compute)
    return _mask_and_correct(values, geometry, compute)


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
    axes = frequencies(geometry, compute)
    shell_at = compute.to_device(shell_of_square(geometry, offset=0.0))
    shells = geometry.largest_shell + 1
    sums: list[tuple[Array, Array]] = []

    def add_up(slab: slice) -> None:
        k2 = slab_of_squares(axes, slab)
        within = k2 < geometry.radius**2
        shell = shell_at[k2[within]]
        total = xp.bincount(shell, weights=weight[slab][within], minlength=shells)
        sums.append((total, xp.bincount(shell, minlength=shells)))

    def invert(slab: slice) -> None:
        k2 = slab_of_squares(axes, slab)
        lowest = floor[shell_at[xp.clip(k2, None, geometry.radius**2 - 1)]]
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
    spectrum = xp.astype(window(accumulators.data_real(), geometry, compute), xp.complex64)
    imag = window(accumulators.data_imag(), geometry, compute)

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
    """Put the mean of the surroundings outside a soft sphere and divide by the interpolation's `footprint`."""
    n = geometry.original_size
    squared = squared_radius([np.arange(n) - n // 2] * geometry.dimensions)
    distance = np.sqrt(np.arange(int(squared.max()) + 1))
    edge = np.clip((distance - n / 2) / MASK_EDGE_PX, 0.0, 1.0)
    outside = (0.5 - 0.5 * np.cos(np.pi * edge))[squared]
    correction = 1.0 / footprint(n, geometry.padding_factor, geometry.dimensions)
    host: npt.NDArray[np.float64] = compute.to_numpy(values).astype(np.float64)
    surroundings = float((host * outside).sum() / outside.sum())
    host += (surroundings - host) * outside
    return (host * correction).astype(np.float32)


def footprint(n: int, padding: float, dimensions: int = 3) -> npt.NDArray[np.float64]:
    """Return sinc²(r / (n p)), (n, n, n) or (n, n), r from the centre, by which interpolation multiplies a map.

    Projections are read from the padded transform by linear interpolation between its points.
    """
    squared = squared_radius([np.arange(n) - n // 2] * dimensions)
    distance = np.sqrt(np.arange(int(squared.max()) + 1))
    values: npt.NDArray[np.float64] = (np.sinc(distance / (n * padding)) ** 2)[squared]
    return values
