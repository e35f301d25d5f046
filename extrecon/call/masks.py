"""Which mask a regularizer gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from extrecon.fourier.grids import round_half_up
from extrecon.fourier.masks import particle_mask
from extrecon.maps import HalfMap
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.relion.names import JobName, body_masks
from extrecon.relion.search import SearchState

MASK_MADE = "made from the half-map"


def find_body_mask(
    name: JobName, half_map: HalfMap, state: SearchState, *, warn: Callable[[str], None]
) -> tuple[npt.NDArray[np.float32], str]:
    """Return the mask of one body of a multi-body refinement, and which one it is.

    RELION reconstructs a body with the centre of mass of its mask in the middle of the box, to whole px. Its masks
    lie as the bodies do in the whole particle; the solvent mask is of the whole and tells nothing of a body.

    Parameters
    ----------
    warn : gets a sentence for whatever is odd about the mask

    Raises
    ------
    MapError : as `find_mask`.
    """
    path = next((path for path in body_masks(name) if path.is_file()), None)
    if path is None:
        return particle_mask(half_map, state.particle_diameter_angstrom), MASK_MADE
    mask = read_mask(path, MaskGrid.of(half_map))
    for note in mask.notes:
        warn(note)
    centred = _centred(np.asarray(mask.density, dtype=np.float32))
    return centred, f"{path} (RELION's of this body, moved to the middle)"


def _centred(mask: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a mask moved by whole px to have its centre of mass in the middle of the box, voxel ``n // 2``."""
    n = len(mask)
    inside: npt.NDArray[np.float32] = np.zeros_like(mask)
    taken, placed = [], []
    for centre in scipy.ndimage.center_of_mass(mask):
        shift = -round_half_up(float(centre) - n // 2)
        taken.append(slice(max(-shift, 0), n - max(shift, 0)))
        placed.append(slice(max(shift, 0), n - max(-shift, 0)))
    inside[tuple(placed)] = mask[tuple(taken)]
    return inside


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
