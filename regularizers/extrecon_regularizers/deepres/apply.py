"""Run the network over a map, in slabs that overlap by what it sees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Compute
from extrecon.regularizer import Progress, no_progress
from extrecon_regularizers.deepres.units import from_unit
from extrecon_regularizers.deepres.weights import Loaded
from extrecon_regularizers.deepres.windows import Inputs
from extrecon_regularizers.networks.engine import running

Array = npt.NDArray[np.float32]

COARSEST = 4
"""Edges of the input must be multiples of this: two halvings."""

MARGIN = 16
"""Voxels on either side of a slab that only inform it. The network's rim reaches 32, with vanishing weight."""

MOST_VOXELS = 3_000_000
"""In a slab: 16 channels of float32 on each voxel are the largest arrays, and two of them stand at a time."""


def apply_network(
    loaded: Loaded,
    inputs: Inputs,
    voxel_angstrom: float,
    compute: Compute,
    progress: Progress = no_progress,
    *,
    most_voxels: int = MOST_VOXELS,
) -> tuple[Array, Array]:
    """Return the local resolution and its expected absolute error, in voxels, each (z/2, y/2, x/2).

    Parameters
    ----------
    loaded : the network
    inputs : what it is shown; edges multiples of 4
    voxel_angstrom : 1.0 or 0.5, of the grid that the network was trained on
    compute : tells the device and the threads
    progress : called after each slab
    most_voxels : in a slab
    """
    depth, across = inputs.windows.shape[1], inputs.windows.shape[2] * inputs.windows.shape[3]
    step = max(COARSEST * round((most_voxels / across - 2 * MARGIN) / COARSEST), 2 * MARGIN)
    out = np.empty((2, *(edge // 2 for edge in inputs.windows.shape[1:])), dtype=np.float32)
    condition = np.full((1, 1), -np.log2(voxel_angstrom), dtype=np.float32)
    with running(loaded.network, compute) as run:
        for start in range(0, depth, step):
            stop = min(start + step, depth)
            first, last = max(start - MARGIN, 0), min(stop + MARGIN, depth)
            windows, bands = inputs.windows[None, :, first:last], inputs.bands[None, :, first // 2 : last // 2]
            told, log_error = run(windows, bands, condition)
            inner = slice((start - first) // 2, (stop - first) // 2)
            out[:, start // 2 : stop // 2] = from_unit(told[0, inner], log_error[0, inner], loaded.unit)
            progress("deepres", stop / depth)
    return out[0], out[1]
