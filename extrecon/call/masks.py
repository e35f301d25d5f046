"""Which mask a regularizer gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.fourier.masks import particle_mask
from extrecon.maps import HalfMap
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.relion.search import SearchState

MASK_MADE = "made from the half-map"


def find_mask(
    given: str,
    half_map: HalfMap,
    state: SearchState,
    working_directory: Path,
    *,
    warn: Callable[[str], None],
    rescale: bool = False,
    trust_header: bool = True,
) -> tuple[npt.NDArray[np.float32], str]:
    """Return the particle's mask and which one it is: the user's, RELION's, or one made from the half-map.

    Parameters
    ----------
    given : the user's mask, or nothing
    warn : gets a sentence for whatever is odd about the mask
    rescale, trust_header : as for `read_mask` and `MaskGrid`

    Raises
    ------
    MapError : the mask does not lie on the half-map's grid, or its values are not between 0 and 1.
    """
    path, origin = (given, "--mask") if given else (state.solvent_mask, "RELION's solvent mask")
    if not path:
        return particle_mask(half_map, state.particle_diameter_angstrom), MASK_MADE
    grid = MaskGrid.of(half_map, trust_header=trust_header)
    mask = read_mask(working_directory / path, grid, rescale=rescale)
    for note in mask.notes:
        warn(note)
    return np.asarray(mask.density, dtype=np.float32), f"{path} ({origin})"
