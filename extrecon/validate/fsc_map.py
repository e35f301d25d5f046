"""The half-map FSC in three dimensions: at each point of Fourier space, that of the cone about its direction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import UsageError
from extrecon.maps.mrc import write_map
from extrecon.validate.fsc import directional_fsc, spread_directions
from extrecon.validate.inputs import Inputs

Volume = npt.NDArray[np.floating[Any]]
FSC_MAP = "validation_fsc_3d.mrc"
DIRECTIONS = 200
_CHUNK = 1 << 18


def fsc_map(first: Volume, second: Volume, directions: int = DIRECTIONS) -> npt.NDArray[np.float32]:
    """Return the FSC over Fourier space, (n, n, n), its origin at voxel n // 2, axes kz, ky, kx; 0 beyond Nyquist.

    A point has the FSC of the cone of 20° about the nearest of some directions, in the point's shell (Tan et al.,
    Nature Methods 14, 793 (2017), whose map is smoother). Where a cone has too few points, the shell's own FSC is
    taken to be 1: these are the first shells.

    Parameters
    ----------
    first, second : (n, n, n)
    directions : over half a sphere
    """
    n = len(first)
    axes = spread_directions(directions)
    curves = np.nan_to_num(directional_fsc(first, second, axes), nan=1.0).astype(np.float32)
    axis = (np.arange(n) - n // 2).astype(np.float32)
    found = np.zeros(n**3, np.float32)
    for start in range(0, n**3, _CHUNK):
        z, y, x = np.unravel_index(np.arange(start, min(start + _CHUNK, n**3)), (n, n, n))
        points = np.stack([axis[x], axis[y], axis[z]], axis=1)
        shell = np.floor(np.linalg.norm(points, axis=1) + 0.5).astype(int)
        nearest = np.abs(points @ axes.T.astype(np.float32)).argmax(axis=1)
        values = curves[nearest, np.minimum(shell, n // 2)]
        found[start : start + len(points)] = np.where(shell <= n // 2, values, 0.0)
    return found.reshape(n, n, n)


def write_fsc_map(folder: Path, given: Inputs) -> Path:
    """Write the FSC of the half-maps under their mask over Fourier space, and return the path.

    Raises
    ------
    UsageError : there are no half-maps.
    """
    if given.halves is None:
        raise UsageError("The FSC over Fourier space is of two half-maps.")
    first, second = (half.density * given.mask_or_made for half in given.halves)
    write_map(folder / FSC_MAP, given.map.with_density(fsc_map(first, second)))
    return folder / FSC_MAP
