"""Which mask a regularizer gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError
from extrecon.fourier.masks import particle_mask
from extrecon.maps import HalfMap, read_map
from extrecon.relion.search import SearchState

MASK_TOLERANCE = 1e-3
MASK_MADE = "made from the half-map"


def find_mask(
    given: str, half_map: HalfMap, state: SearchState, working_directory: Path
) -> tuple[npt.NDArray[np.float32], str]:
    """Return the particle's mask and which one it is: the user's, RELION's, or one made from the half-map.

    Raises
    ------
    MapError : the mask's box is not the half-map's, or its values are not between 0 and 1.
    """
    path, origin = (given, "--mask") if given else (state.solvent_mask, "RELION's solvent mask")
    if not path:
        return particle_mask(half_map, state.particle_diameter_angstrom), MASK_MADE
    mask = read_map(working_directory / path, half_map.pixel_size_angstrom)
    if mask.box != half_map.box:
        raise MapError(f"{path}: the mask is {mask.box}³ voxels, but the half-map is {half_map.box}³.")
    low, high = float(mask.density.min()), float(mask.density.max())
    if low < -MASK_TOLERANCE or high > 1 + MASK_TOLERANCE or high < 0.5:
        raise MapError(f"{path}: a mask runs from 0 to 1, but this map runs from {low:.3g} to {high:.3g}.")
    return np.asarray(mask.density, dtype=np.float32), f"{path} ({origin})"
