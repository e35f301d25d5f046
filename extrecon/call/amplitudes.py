"""How strong each Fourier shell of a regularized map should be, told by the other half's plain map.

A regularized map R of one half is scaled so that it comes nearest to the truth S. The half-map U₁ itself cannot
tell the scale: R was made from it and shares its noise, and RELION's MAP term has damped it. The other half's map
before damping, U₂ = S + noise, shares nothing with R but the signal, so in each shell

    s = Σ Re(U₂ R*) / Σ |R|²   estimates   Σ Re(S R*) / Σ |R|².

One number a shell crosses between the halves. It is never larger than the signal allows: s² Σ|R|² ≤ Σ Re(U₁ U₂*),
and sums run over three shells, because a weak shell has few points that agree. The same sums tell by how much s R
errs, Σ|S − s R|² = Σ|S|² − 2 s Σ Re(S R*) + s² Σ|R|², which weighs it against the data (`data=consistent`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from extrecon.fourier.compute import Compute
from extrecon.fourier.shells import Shells, correlation, power
from extrecon.maps.half_map import FloatArray

Curve = npt.NDArray[np.float64]

SUMMED_SHELLS = 3
LEAST_DAMPING = 1e-3
LEAST_ERROR = 0.01
"""Of the signal's power: nothing is known better, whatever few points say."""


@dataclass(frozen=True)
class ShellFit:
    """How strong each shell of a regularized map should be, and how wrong it then is.

    Attributes
    ----------
    scale : (n // 2 + 1,) factors, 0 or more
    signal_power : (n // 2 + 1,) mean |S|² of a Fourier point, in the unit of the maps' unnormalised transforms
    error_power : (n // 2 + 1,) mean |S − s R|² of a point, from a hundredth of the signal's power to all of it
    """

    scale: Curve
    signal_power: Curve
    error_power: Curve


def fit_by_other_half(
    regularized: FloatArray, plain: FloatArray, other: FloatArray, damping: Curve, compute: Compute
) -> ShellFit:
    """Return what the other half tells of ``regularized``.

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
    signal = np.maximum(_summed(correlation(shells.spectrum(plain), theirs, shells) * undamped**2), 0.0)
    scale = _ratio(shared, own)
    scale = np.clip(scale, 0.0, np.sqrt(_ratio(signal, own)))
    scale[0] = scale[1]  # the mean has one point, which tells nothing
    scale = np.where(damping > 0, scale, 0.0)
    error = np.clip(signal - 2 * scale * shared + scale**2 * own, LEAST_ERROR * signal, signal)
    points = _summed(shells.points())
    return ShellFit(scale, signal / points, error / points)


def _ratio(above: Curve, below: Curve) -> Curve:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _summed(each_shell: Curve) -> Curve:
    return np.asarray(scipy.ndimage.uniform_filter1d(each_shell, SUMMED_SHELLS, mode="nearest"))
