"""Run the network over a map, in slabs that overlap by what it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from extrecon.fourier.compute import Compute
from extrecon.regularizer import Progress, no_progress
from extrecon_regularizers.cnn.apply import torch_threads
from extrecon_regularizers.deepres.network import COARSEST, from_unit
from extrecon_regularizers.deepres.windows import Inputs

if TYPE_CHECKING:
    from extrecon_regularizers.deepres.weights import Loaded

Array = npt.NDArray[np.float32]

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
    device = torch.device(compute.device)
    depth, across = inputs.windows.shape[1], inputs.windows.shape[2] * inputs.windows.shape[3]
    step = max(COARSEST * round((most_voxels / across - 2 * MARGIN) / COARSEST), 2 * MARGIN)
    out = np.empty((2, *(edge // 2 for edge in inputs.windows.shape[1:])), dtype=np.float32)
    condition = torch.full((1, 1), -float(np.log2(voxel_angstrom)), device=device)
    with torch.inference_mode(), torch_threads(compute):
        network = loaded.network.to(device)
        for start in range(0, depth, step):
            stop = min(start + step, depth)
            first, last = max(start - MARGIN, 0), min(stop + MARGIN, depth)
            windows = _tensor(inputs.windows[:, first:last], device)
            told = network(windows, _tensor(inputs.bands[:, first // 2 : last // 2], device), condition)
            inner = slice((start - first) // 2, (stop - first) // 2)
            voxels, error = from_unit(told[0][0, inner], told[1][0, inner], loaded.unit)
            out[0, start // 2 : stop // 2] = voxels.cpu().numpy()
            out[1, start // 2 : stop // 2] = error.cpu().numpy()
            progress("deepres", stop / depth)
    return out[0], out[1]


def _tensor(part: Array, device: torch.device) -> torch.Tensor:
    batch = torch.from_numpy(np.ascontiguousarray(part))[None].to(device)
    return batch.contiguous(memory_format=torch.channels_last_3d)
