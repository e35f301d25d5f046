"""A density weighed against the data of its half-map, at each Fourier point by what either knows there.

Let D be the data's weighted sum, W their weight, and R a density that errs by the power v in shell s. With Gaussian
errors the most probable map is

    x(k) = (D(k) + λ R(k)) / (W(k) + λ),   λ = 1 / (p³ v)

which is RELION's MAP estimate with R as the mean of its prior (Scheres, J. Struct. Biol. 180, 519, 2012, eq. 6);
Kimanius et al., IUCrJ 8, 60 (2021), weigh a denoiser against the data so. With R = 0 and v = T tau² it is RELION's
map again. W differs from direction to direction: what few views cover follows R, and nothing else does.

It is done on the map's own grid and not on the padded one. The half-map M is the MAP estimate of the same data, so
that D = (W + 1 / (p³ T tau²)) M: gridding and padding were done when M was made, and three transforms of the map's
size suffice. The interpolation's footprint, sinc²(r / (np)), which both maps are free of, is put back meanwhile.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.shells import Shells
from extrecon.maps.half_map import FloatArray
from extrecon.reconstruction.fourier_data import FourierData
from extrecon.reconstruction.half_map import footprint

Curve = npt.NDArray[np.float64]

_LEAST_POWER = 1e-30  # an inverse of it is still a number in single precision when it is scaled by a weight


def data_consistent(
    density: FloatArray, plain: FloatArray, data: FourierData, error_power: Curve, compute: Compute
) -> npt.NDArray[np.float32]:
    """Return the most probable map, given the data and a density that errs by so much.

    Parameters
    ----------
    density, plain : (n, n, n), axes z, y, x; the density R, and the MAP half-map M of ``data``
    data : whose weights are read; beyond what the images reach, ``density`` stands alone
    error_power : (n // 2 + 1,) v, mean power of the density's error at a Fourier point of each shell, in the unit
        of |F|² of the unnormalised transform of ``density``
    compute : where to work
    """
    n = len(plain)
    shells = Shells(n, compute)
    seen = footprint(n, data.geometry.padding_factor)
    ours, theirs = shells.spectrum(density * seen), shells.spectrum(plain * seen)
    volume = data.geometry.volume_factor
    trust = 1.0 / np.maximum(volume * error_power / float(n) ** 4, _LEAST_POWER)
    mixed = _mixed(ours, theirs, data, shells, trust, compute)
    return np.asarray(shells.density(mixed) / seen, dtype=np.float32)


def _mixed(ours: Array, theirs: Array, data: FourierData, shells: Shells, trust: Curve, compute: Compute) -> Array:
    """Return (D + λ R) / (W + λ), in the place of ``ours``."""
    weight = compute.to_device(data.weight())
    damping = _damping(data, shells.count)
    of_shell = compute.to_device(np.stack([trust, damping]), np.float32)
    reach = data.geometry.largest_shell

    def mix(slab: slice) -> None:
        index = shells.index(slab)
        inside = index < min(reach, shells.count)
        at = compute.xp.where(inside, index, 0)
        w, lam, map_term = weight[slab], of_shell[0][at], of_shell[1][at]
        found = ((w + map_term) * theirs[slab] + lam * ours[slab]) / (w + lam)
        ours[slab] = compute.xp.where(inside & (w > 0), found, ours[slab])

    compute.over_slabs(mix, shells.n)
    return ours


def _damping(data: FourierData, count: int) -> Curve:
    """Return what the MAP term added to the weights of each shell, (count,); 0 without one."""
    damping = np.zeros(count)
    if data.tau2 is not None:
        known = min(count, data.tau2.size)
        signal = data.geometry.volume_factor * data.tau2_fudge * data.tau2[:known]
        damping[:known] = np.divide(1.0, signal, out=np.zeros(known), where=signal > _LEAST_POWER)
    return damping
