"""Whether what lies around the particle can tell the noise: in a masked map it cannot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.maps.half_map import FloatArray

MOST_CONSTANT = 0.25
"""A larger share of constant voxels, and the map was masked: noise repeats no number."""
_CONSTANT = 3e-3  # of the map's deviation: ripples of resampling are smaller, noise is far larger
_ENOUGH = 1_000_000


def inscribed_sphere(box: int) -> npt.NDArray[np.bool_]:
    """Return the voxels within half a box of voxel ``box // 2``, (n, n, n); RELION writes a constant beyond."""
    squared = (np.arange(box, dtype=np.int32) - box // 2) ** 2
    plane = squared[:, None] + squared
    inside = np.empty((box,) * 3, dtype=np.bool_)
    for z in range(box):
        inside[z] = plane < (box // 2) ** 2 - squared[z]
    return inside


def constant_share(density: FloatArray, where: npt.NDArray[np.bool_]) -> float:
    """Return which share of some voxels holds one number, to within 0.3 % of the map's deviation; 0 of no voxels.

    Parameters
    ----------
    density : (n, n, n) array
    where : (n, n, n) bool, the voxels looked at; not beyond the inscribed sphere, where RELION
        writes a constant
    """
    around = density[where]
    if around.size == 0:
        return 0.0
    around = around[:: max(1, around.size // _ENOUGH)]  # a share needs no more
    width = _CONSTANT * _deviation(density)
    # The commonest number is the outside's: the background, 0 or the median.
    levels = {0.0, float(np.median(around)), float(density.flat[0])}
    return max(float(np.mean(np.abs(around - level) <= width)) for level in levels)


def _deviation(density: FloatArray) -> float:
    """Return the standard deviation without a copy of the map in double precision."""
    mean = float(density.mean(dtype=np.float64))
    squares = sum(float(np.sum(np.square(plane - mean, dtype=np.float64))) for plane in density)
    return float(np.sqrt(squares / density.size))


def masked_map_sentence(density: FloatArray, where: npt.NDArray[np.bool_]) -> str:
    """Return what to tell of a map whose voxels ``where`` the noise should be measured are constant, or nothing."""
    share = constant_share(density, where)
    if share <= MOST_CONSTANT:
        return ""
    return (
        f"The map was masked: {share:.0%} of the voxels that should tell the noise are constant; "
        "give the unmasked half-maps (RELION's …_unfil.mrc)."
    )
