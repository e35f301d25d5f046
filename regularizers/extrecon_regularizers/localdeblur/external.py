"""Local-resolution maps of any program, brought to one form: Å inside, 0 outside."""

from __future__ import annotations

import numpy as np

from extrecon.errors import RegularizerError
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray

_RESMAP_BACKGROUND = 100.0


def usable_resolution(resolution: FloatArray, half_map: HalfMap, mask: FloatArray | None) -> tuple[FloatArray, str]:
    """Return a local-resolution map with 0 outside, and a word on how its outside was found.

    MonoRes and BlocRes mark the outside with 0, ResMap with 100; RELION's map has no outside, and takes the mask's.

    Parameters
    ----------
    resolution : (n, n, n) array as the other program wrote it
    half_map : the map it belongs to
    mask : (n, n, n) array, 0 in the solvent and 1 in the particle, or None

    Raises
    ------
    RegularizerError : another box, numbers that are not finite or cannot be Å, or no outside and no mask.
    """
    _check_box(resolution, half_map)
    low, high = resolution.min(), resolution.max()  # NaN wherever a voxel is
    if not (np.isfinite(low) and np.isfinite(high) and low >= 0):
        raise RegularizerError("The local-resolution map holds negative or infinite numbers; it must be in Å.")
    outside = resolution <= 0
    if high >= _RESMAP_BACKGROUND:
        outside |= resolution >= _RESMAP_BACKGROUND
    origin = "marked in the map"
    if not outside.any():
        if mask is None:
            raise RegularizerError(
                "The local-resolution map has a value at every voxel, so the solvent cannot be told; give a mask."
            )
        outside, origin = mask <= 0.5, "the mask's"
    inside = resolution[~outside]
    if inside.size == 0:
        raise RegularizerError("The local-resolution map has no voxel with a resolution, or the mask holds none.")
    _check_unit(float(np.median(inside)), half_map)
    return np.where(outside, 0.0, resolution).astype(np.float32), origin


def _check_box(resolution: FloatArray, half_map: HalfMap) -> None:
    if resolution.shape != half_map.density.shape:
        theirs, ours = ("×".join(map(str, shape)) for shape in (resolution.shape, half_map.density.shape))
        raise RegularizerError(
            f"The local-resolution map is {theirs} voxels, but the map is {ours}; compute it on the same grid."
        )


def _check_unit(median: float, half_map: HalfMap) -> None:
    """Refuse a map in 1/Å, nm or pixels where that can be told."""
    finest, coarsest = half_map.pixel_size_angstrom, half_map.box * half_map.pixel_size_angstrom
    if not finest <= median <= coarsest:
        raise RegularizerError(
            f"The local-resolution map's median is {median:.4g}, but a map of {half_map.box} voxels of "
            f"{finest:.4g} Å holds {2 * finest:.4g} to {coarsest:.4g} Å; convert it to Å."
        )
