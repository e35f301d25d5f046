"""What regularizers add inside refinement, where particles are aligned against their result.

There a regularized map by itself can harm: the half-map is poor in early iterations, and shells are changed that
need no help. The READMEs of the regularizers tell what was measured.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Compute
from extrecon.fourier.shells import Shells, correlation, power
from extrecon.maps.half_map import FloatArray
from extrecon.regularizer import Parameter

BLEND = Parameter(
    "blend",
    "auto",
    "fsc weights each shell of the result by 1 - FSC, the plain map by FSC; auto: fsc inside refinement.",
    choices=("auto", "fsc", "none"),
)

_WITHOUT_FSC = 0.5
_SOLVENT = 0.01  # the mask below this is solvent


def weights_from_fsc(half_map_fsc: npt.NDArray[np.float64] | None, count: int) -> npt.NDArray[np.float64]:
    """Return the regularized map's weight in each shell: 1 − FSC, the share of noise in the half-maps.

    Without an FSC, or with one that is 0 throughout as in 3D classification, the weight is a half everywhere.

    Parameters
    ----------
    half_map_fsc : (count,) array, or None
    count : number of shells
    """
    if half_map_fsc is None or not np.any(half_map_fsc[1:] > 0):
        return np.full(count, _WITHOUT_FSC)
    weights: npt.NDArray[np.float64] = 1.0 - np.clip(half_map_fsc, 0.0, 1.0)
    return weights


def blended(
    regularized: FloatArray, plain: FloatArray, weights: npt.NDArray[np.float64], compute: Compute
) -> npt.NDArray[np.float32]:
    """Return (1 − w) plain + w s regularized in each Fourier shell, s regularized being nearest to the plain map.

    Parameters
    ----------
    regularized, plain : (n, n, n) arrays, axes z, y, x
    weights : (n // 2 + 1,) array, w of each shell
    compute : where to work
    """
    shells = Shells(len(plain), compute)
    ours, theirs = shells.spectrum(regularized), shells.spectrum(plain)
    ours_power = power(ours, shells)
    scale = np.divide(
        correlation(ours, theirs, shells), ours_power, out=np.zeros(shells.count), where=ours_power > 0
    )
    shells.scale(ours, weights * np.maximum(scale, 0.0))
    shells.scale(theirs, 1.0 - weights)
    ours += theirs
    return shells.density(ours)


def flattened(density: FloatArray, mask: FloatArray) -> FloatArray:
    """Return the map with its solvent at the solvent's mean.

    Parameters
    ----------
    density : (n, n, n) array, axes z, y, x
    mask : (n, n, n) array, 0 in the solvent and 1 in the particle, soft between
    """
    solvent = density[mask < _SOLVENT]
    level = solvent.mean(dtype=np.float64) if solvent.size else 0.0
    flat: FloatArray = (level + (density - level) * mask).astype(density.dtype, copy=False)
    return flat
