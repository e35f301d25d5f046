"""Run the network over a map: whole where it fits, in overlapping tiles with smooth weights where it does not."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Compute
from extrecon.regularizer import Progress, no_progress
from extrecon_regularizers.cnn.directions import turns
from extrecon_regularizers.cnn.standardise import LARGEST_TILE
from extrecon_regularizers.networks.engine import Network, Run, running

Array = npt.NDArray[np.float32]

OVERLAP = 32

ERROR_FLOOR = 0.02
"""Added to the error that the network states, so that it need not learn how sure the empty solvent is."""

LARGEST_LOG_ERROR = 4.0
"""Errors beyond its exponential are far beyond any density, and the exponential would overflow."""


def apply_in_turns(
    network: Network,
    inputs: Array,
    condition: Array,
    compute: Compute,
    progress: Progress = no_progress,
    *,
    directions: int,
) -> tuple[Array, Array]:
    """Return the mean of what `apply_network` tells of the map in so many directions, 1 to 24."""
    if directions == 1:
        return apply_network(network, inputs, condition, compute, progress)
    sums = np.zeros((2, *inputs.shape[1:]), dtype=np.float32)
    with running(network, compute) as run:
        for done, turn in enumerate(turns()[:directions]):
            part = partial(_part_of, progress, done, directions)
            density, error = _over_tiles(run, turn.applied(inputs), condition, part, LARGEST_TILE)
            sums[0] += turn.undone(density)
            sums[1] += turn.undone(error)
    sums /= directions
    return sums[0], sums[1]


def _part_of(progress: Progress, done: int, of: int, what: str, share: float) -> None:
    progress(what, (done + share) / of)


def apply_network(
    network: Network,
    inputs: Array,
    condition: Array,
    compute: Compute,
    progress: Progress = no_progress,
    *,
    largest_tile: int = LARGEST_TILE,
) -> tuple[Array, Array]:
    """Return density and expected absolute error, each (m, m, m), in the inputs' units.

    Parameters
    ----------
    network : with its weights
    inputs : (2, m, m, m) standardised map, m a multiple of 8
    condition : (2,) see `extrecon_regularizers.cnn.standardise`
    compute : tells the device and the threads
    progress : called after each tile
    largest_tile : up to this edge, a multiple of 8, the map is taken whole, and as few tiles as possible beyond it
    """
    with running(network, compute) as run:
        return _over_tiles(run, inputs, condition, progress, largest_tile)


def _over_tiles(
    run: Run, inputs: Array, condition: Array, progress: Progress, largest_tile: int
) -> tuple[Array, Array]:
    box = inputs.shape[-1]
    edge, starts = tiles(box, largest_tile)
    window = tile_weight(edge) if len(starts) > 1 else np.ones((edge,) * 3, dtype=np.float32)
    sums = np.zeros((2, box, box, box), dtype=np.float32)
    total = np.zeros((box, box, box), dtype=np.float32)
    corners = list(product(starts, repeat=3))
    for done, corner in enumerate(corners, 1):
        cut = tuple(slice(start, start + edge) for start in corner)
        density, log_error = run(inputs[(None, slice(None), *cut)], condition[None])
        error = np.exp(np.minimum(log_error[0], LARGEST_LOG_ERROR)) + ERROR_FLOOR
        sums[0][cut] += density[0] * window
        sums[1][cut] += error * window
        total[cut] += window
        progress("denoise", done / len(corners))
    sums /= total
    return sums[0], sums[1]


def tiles(box: int, largest: int) -> tuple[int, list[int]]:
    """Return the tiles' edge and where they begin along an axis: multiples of 8, overlapping by at least 32 voxels.

    What overlaps is worked on up to eight times: few large tiles cost half of what many small ones do.
    """
    count = 1 if box <= largest else -(-(box - OVERLAP) // (largest - OVERLAP))
    edge = 8 * -(-(box + (count - 1) * OVERLAP) // (8 * count))
    last = box - edge
    return edge, [8 * (last * number // (8 * max(count - 1, 1))) for number in range(count)]


def tile_weight(tile: int) -> Array:
    """Return a weight that rises from the tile's faces over half the overlap, (tile, tile, tile)."""
    inwards = np.minimum(np.arange(tile) + 0.5, tile - 0.5 - np.arange(tile))
    along = np.sin(0.5 * np.pi * np.clip(inwards / (OVERLAP / 2), 0, 1)) ** 2 + 1e-3
    weight: Array = (along[:, None, None] * along[:, None] * along).astype(np.float32)
    return weight
