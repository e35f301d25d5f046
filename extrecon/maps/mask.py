"""Reading the particle's mask: on the map's grid, from 0 to 1, whatever program wrote it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError
from extrecon.maps.half_map import HalfMap
from extrecon.maps.mrc import read_companion

_ROUNDING = 1e-3
_OVERSHOOT = 0.1
"""Resampling a mask or softening it in Fourier space overshoots by so much; more, and the map is no mask."""
_INSIDE = 0.5
_BYTE_TOPS = ((120, 127), (248, 255))
"""Largest values of masks stored as bytes, and what stands for 1 there: the last steps are often lost."""


@dataclass(frozen=True)
class MaskGrid:
    """The grid that a mask must lie on.

    Attributes
    ----------
    name : what lies on it, for sentences
    box : edge, voxels; None if not known yet
    pixel_size_angstrom : None if not known yet
    trust_header : False where the user has given the pixel size because headers are wrong
    """

    name: str = "the half-map"
    box: int | None = None
    pixel_size_angstrom: float | None = None
    trust_header: bool = True

    @classmethod
    def of(cls, half_map: HalfMap, *, trust_header: bool = True) -> MaskGrid:
        """Return the grid of a map."""
        return cls("the half-map", half_map.box, half_map.pixel_size_angstrom, trust_header)


def read_mask(path: Path, grid: MaskGrid, *, rescale: bool = False) -> HalfMap:
    """Return a mask from 0 to 1 as float32; what was odd about it is in its notes.

    Parameters
    ----------
    grid : that it must lie on
    rescale : take a mask of bytes for what it looks like

    Raises
    ------
    MapError : another box or pixel size, no voxel inside, or values that are not between 0 and 1.
    """
    known = grid.pixel_size_angstrom is not None
    size = grid.pixel_size_angstrom or 1.0
    mask = read_companion(path, size, grid.name, trust_header=known and grid.trust_header)
    if grid.box is not None and mask.box != grid.box:
        raise MapError(f"{path}: the mask is {mask.box}³ voxels, but {grid.name} is {grid.box}³.")
    values, notes = _from_0_to_1(path, np.asarray(mask.density, dtype=np.float32), rescale)
    if values.min() >= _INSIDE:
        notes.append(f"{path}: the mask leaves nothing out: no voxel is solvent, which could tell the noise")
    return replace(mask, density=values, notes=(*mask.notes, *notes))


def _from_0_to_1(
    path: Path, values: npt.NDArray[np.float32], rescale: bool
) -> tuple[npt.NDArray[np.float32], list[str]]:
    low, high = float(values.min()), float(values.max())
    runs = f"a mask runs from 0 to 1, but this map runs from {low:.3g} to {high:.3g}"
    if low >= -_OVERSHOOT and _INSIDE <= high <= 1 + _OVERSHOOT:
        slight = low >= -_ROUNDING and high <= 1 + _ROUNDING
        return np.clip(values, 0.0, 1.0), [] if slight else [f"{path}: {runs}; it was clipped"]
    looks = _bytes_as_mask(values)
    if looks is None:
        raise MapError(f"{path}: {runs}.")
    scaled, kind = looks
    if not rescale:
        raise MapError(f"{path}: {runs}. It looks like {kind}: give --rescale-mask if it is.")
    return scaled, [f"{path}: {runs}; it was rescaled from {kind}"]


def _bytes_as_mask(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], str] | None:
    """Return what a mask of bytes means, and which kind of bytes it holds; None if it holds no such thing."""
    low, high = float(values.min()), float(values.max())
    if low < -128 or high > 255 or (low < 0 and high > 127) or np.any(values != np.rint(values)):
        return None
    if low >= 0:
        shifted, kind = values, ""
    elif values[0, 0, 0] == 0:  # the box's corner is solvent
        shifted, kind = np.where(values < 0, values + 256, values), "unsigned bytes (0 to 255) read as signed ones"
    else:
        shifted, kind = values + 128, "IMOD's signed bytes (−128 to 127)"
    top = next((one for least, one in _BYTE_TOPS if least <= shifted.max() <= one), None)
    if top is None:
        return None
    return (shifted / top).astype(np.float32), kind or f"bytes from 0 to {top}"
