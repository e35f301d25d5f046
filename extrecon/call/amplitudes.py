"""How strong each Fourier shell of a regularized map should be, told by the other half's plain map.

A regularized map R of one half is scaled so that it comes nearest to the truth S. The half-map U₁ itself cannot
tell the scale: R was made from it and shares its noise, and RELION's MAP term has damped it. The other half's map
before damping, U₂ = S + noise, shares nothing with R but the signal, so in each shell

    s = Σ Re(U₂ R*) / Σ |R|²   estimates   Σ Re(S R*) / Σ |R|².

One number a shell crosses between the halves. It is never larger than the signal allows: s² Σ|R|² ≤ Σ Re(U₁ U₂*),
and sums run over three shells, because a weak shell has few points that agree.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from extrecon.fourier.compute import Compute
from extrecon.fourier.shells import Shells, correlation, power
from extrecon.maps.half_map import FloatArray

Curve = npt.NDArray[np.float64]

SUMMED_SHELLS = 3
LEAST_DAMPING = 1e-3


def scale_by_other_half(
    regularized: FloatArray, plain: FloatArray, other: FloatArray, damping: Curve, compute: Compute
) -> Curve:
    """Return the factor of each shell of ``regularized``, (n // 2 + 1,), 0 or more.

    Parameters
    ----------
    regularized, plain, other : (n, n, n), axes z, y, x; the regularizer's map, its half's plain map, the other
        half's plain map
    damping : (n // 2 + 1,) what the MAP term has left of each shell of the plain maps, 0 to 1
    compute : where to work
    """
    shells = Shells(len(plain), compute)
    ours, theirs = shells.spectrum(regularized), shells.spectrum(other)
    undamped = 1.0 / np.maximum(damping, LEAST_DAMPING)
    shared = _summed(correlation(ours, theirs, shells) * undamped)
    own = _summed(power(ours, shells))
    signal = _summed(correlation(shells.spectrum(plain), theirs, shells) * undamped**2)
    scale = np.divide(shared, own, out=np.zeros(shells.count), where=own > 0)
    bound = np.sqrt(np.divide(np.maximum(signal, 0.0), own, out=np.zeros(shells.count), where=own > 0))
    scale = np.clip(scale, 0.0, bound)
    scale[0] = scale[1]  # the mean has one point, which tells nothing
    return np.asarray(np.where(damping > 0, scale, 0.0))


def _summed(each_shell: Curve) -> Curve:
    return np.asarray(scipy.ndimage.uniform_filter1d(each_shell, SUMMED_SHELLS, mode="nearest"))
