"""How far the network can see: up to 1.4 times the frequency of the resolution, which is what it was trained for.

Its grid of three voxels to the resolution ends soon after. Half-maps whose FSC crosses 1/7 early and then stays
above chance hold signal beyond, of which the half-map itself tells more than the network.
"""

from __future__ import annotations

from extrecon.fourier.compute import Compute
from extrecon.fourier.shells import Shells, relative_strength, soft_step
from extrecon.maps.half_map import FloatArray

REACH = 1.4
"""Of the resolution's frequency; `scripts/training/loss.py` counts shells up to there."""

_EDGE_SHELLS = 2


def held_to_reach(
    density: FloatArray, half_map: FloatArray, last: int, compute: Compute
) -> tuple[FloatArray, bool]:
    """Return the network's density up to a shell and the half-map's own coefficients beyond; and if there are any.

    Parameters
    ----------
    density, half_map : (n, n, n) arrays, axes z, y, x; the half-map is brought to the density's scale at that shell
    last : shell
    compute : where to work
    """
    shells = Shells(len(density), compute)
    if last + _EDGE_SHELLS >= shells.count:
        return density, False
    ours, theirs = shells.spectrum(density), shells.spectrum(half_map)
    strength = relative_strength(ours, theirs, shells, last, _EDGE_SHELLS)
    if strength is None:
        return density, False
    network = soft_step(shells.count, last, _EDGE_SHELLS)
    shells.scale(ours, network)
    shells.scale(theirs, strength * (1.0 - network))
    ours += theirs
    return shells.density(ours), True
