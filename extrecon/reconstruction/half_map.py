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
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from extrecon.errors import InputError
from extrecon.fourier import gridding
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import crop_around_origin, squared_radius, window_full_axis
from extrecon.reconstruction.grid import (
    Accumulators,
    Geometry,
    frequencies,
    over_window,
    shell_of_square,
    slab_of_squares,
    window,
)
from extrecon.reconstruction.map_term import weights_with_map_term

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
    weight = weights_with_map_term(accumulators, tau2, tau2_fudge, geometry, compute)
    ratio = (_gridded_ratio if iterate_gridding else _plain_ratio)(weight, geometry, compute)
    return _mask_and_correct(_to_real_space(accumulators, ratio, geometry, compute), geometry)


Planes = Callable[[slice], Array]
"""Returns some planes of an array on the window's points."""


def _gridded_ratio(weight: Planes, geometry: Geometry, compute: Compute) -> Planes:
    """Return the factor u that turns data into the gridded transform; 0 where nothing was measured."""
    xp = compute.xp
    period = geometry.original_size * geometry.padding_factor
    evened = gridding.even_out(weight, geometry.window_shape, period, compute)

    def planes_of(slab: slice) -> Array:
        # Read again: to keep the weights would take as much memory as a transform.
        before = xp.astype(xp.clip(weight(slab), None, _LARGEST_SINGLE), xp.float32)
        counted = before > 0
        return xp.where(counted, evened[slab] / xp.where(counted, before, 1.0), 0.0)

    return planes_of


def _plain_ratio(weight: Planes, geometry: Geometry, compute: Compute) -> Planes:
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
        total = xp.bincount(shell, weights=weight(slab)[within], minlength=shells)
        sums.append((total, xp.bincount(shell, minlength=shells)))

    over_window(add_up, geometry, compute)
    floor = sum(total for total, _ in sums) / xp.clip(sum(count for _, count in sums), 1, None) / 1000

    def planes_of(slab: slice) -> Array:
        k2 = slab_of_squares(axes, slab)
        lowest = floor[shell_at[xp.clip(k2, None, geometry.radius**2 - 1)]]
        here = weight(slab)
        divisor = xp.where(here > lowest, here, lowest)
        usable = (k2 < geometry.radius**2) & (divisor > 0)
        return xp.where(usable, 1.0 / xp.where(usable, divisor, 1.0), 0.0)

    return planes_of


def _to_real_space(
    accumulators: Accumulators, ratio: Planes, geometry: Geometry, compute: Compute
) -> npt.NDArray[np.float32]:
    """Transform data · ratio to the central (n, …) crop of the padded image, (n or 1, n, n).

    Each axis is cropped as soon as it is transformed, so that the padded image never exists as a whole.
    """
    xp, n, radius = compute.xp, geometry.original_size, geometry.radius
    planes, half = geometry.window_shape[0], radius
    padded = geometry.padded_size + geometry.padded_size % 2
    along_y = xp.empty((planes, n, half), dtype=xp.complex64, device=compute.device)
    thick = n if geometry.dimensions == 3 else 1
    values = np.empty((thick, n, n), np.float32)
    # The accumulators hold unnormalised transforms: undo the division by the padded volume that ifft makes.
    scale = float(padded) ** geometry.dimensions / (geometry.volume_factor * thick)

    def planes_of_y(slab: slice) -> None:
        spectrum = xp.astype(window(accumulators.data_real, geometry, slab, compute), xp.complex64)
        spectrum += 1j * window(accumulators.data_imag, geometry, slab, compute)
        spectrum *= xp.astype(ratio(slab), xp.float32, copy=False)
        laid = window_full_axis(spectrum[..., :half], 1, radius, padded, compute)
        along_y[slab] = crop_around_origin(compute.ifft(laid, padded, 1), 1, n, compute)

    def rows_of_z_and_x(rows: slice) -> None:
        spectrum = along_y[:, rows]
        if geometry.dimensions == 3:
            laid = window_full_axis(spectrum, 0, radius, padded, compute)
            spectrum = crop_around_origin(compute.ifft(laid, padded, 0), 0, n, compute)
        found = crop_around_origin(compute.irfft(spectrum, padded, 2), 2, n, compute)
        values[:, rows] = compute.to_numpy(found) * np.float32(scale)

    over_window(planes_of_y, geometry, compute)
    compute.over_slabs(rows_of_z_and_x, n, row_bytes=8 * padded * half)
    return values if geometry.dimensions == 3 else values[0]


def _mask_and_correct(values: npt.NDArray[np.float32], geometry: Geometry) -> npt.NDArray[np.float32]:
    """Put the mean of the surroundings outside a soft sphere and divide by the interpolation's `footprint`."""
    n, dimensions = geometry.original_size, geometry.dimensions
    axes = [np.arange(n) - n // 2] * dimensions
    distance = np.sqrt(np.arange(dimensions * (n // 2) ** 2 + 1))
    edge = np.clip((distance - n / 2) / MASK_EDGE_PX, 0.0, 1.0)
    outside = 0.5 - 0.5 * np.cos(np.pi * edge)
    correction = 1.0 / _footprint_at(distance, n, geometry.padding_factor)
    sums = np.zeros(2)
    for plane, here in _planes_and_squares(values, axes):
        sums += (plane * outside[here]).sum(), outside[here].sum()
    surroundings = sums[0] / sums[1]
    for plane, here in _planes_and_squares(values, axes):
        plane[:] = (plane + (surroundings - plane) * outside[here]) * correction[here]
    return values


def _planes_and_squares(
    values: npt.NDArray[np.float32], axes: list[npt.NDArray[np.int64]]
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    """Return planes of a map, to be changed in place, and the squared distance from its centre at each point."""
    for index, plane in enumerate(values):
        yield plane, squared_radius([axes[0][index : index + 1], *axes[1:]])[0]


def footprint(n: int, padding: float, dimensions: int = 3) -> npt.NDArray[np.float64]:
    """Return sinc²(r / (n p)), (n, n, n) or (n, n), r from the centre, by which interpolation multiplies a map.

    Projections are read from the padded transform by linear interpolation between its points.
    """
    squared = squared_radius([np.arange(n) - n // 2] * dimensions)
    values: npt.NDArray[np.float64] = _footprint_at(np.sqrt(np.arange(int(squared.max()) + 1)), n, padding)[squared]
    return values


def _footprint_at(distance: npt.NDArray[np.float64], n: int, padding: float) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = np.sinc(distance / (n * padding)) ** 2
    return values
