"""What the result holds where the half-maps do not agree: no detail of the network's making.

A network goes on where its input ends. Two half-maps that share their low frequencies would then share what it
makes of them, and their FSC would rise beyond anything the data show. There the half-map's own Fourier coefficients
stand instead, no stronger than the network would have them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from extrecon.fourier.compute import Compute
from extrecon.fourier.shells import Shells, power
from extrecon.maps.half_map import FloatArray

LEAST_AGREEMENT = 0.02
EDGE_SHELLS = 2
_SMOOTHED_OVER_SHELLS = 5


def last_agreed_shell(half_map_fsc: npt.NDArray[np.float64]) -> int:
    """Return the last shell before the half-map FSC, (n // 2 + 1,), first falls to what chance brings.

    Shell k holds about 2πk² independent coefficients, so noise alone has an FSC with a standard deviation of
    1 / √(4πk²); twice that, or 0.02 where that is more, counts as chance.
    """
    k = np.arange(1, half_map_fsc.size)
    under = np.flatnonzero(half_map_fsc[1:] < np.maximum(LEAST_AGREEMENT, 2.0 / np.sqrt(4.0 * np.pi * k**2)))
    return int(under[0]) if under.size else half_map_fsc.size - 1


def with_data_beyond(
    denoised: FloatArray, plain: FloatArray, last: int, compute: Compute
) -> npt.NDArray[np.float32]:
    """Return the denoised map up to shell ``last`` and the half-map's coefficients beyond, with a soft change.

    Parameters
    ----------
    denoised, plain : (n, n, n) arrays, axes z, y, x; of one scale
    last : shell; the two after it lead over from one map to the other
    compute : where to work
    """
    shells = Shells(len(plain), compute)
    ours, theirs = shells.spectrum(denoised), shells.spectrum(plain)
    ours_power, theirs_power = power(ours, shells), power(theirs, shells)
    gain = np.sqrt(np.divide(ours_power, theirs_power, out=np.zeros(shells.count), where=theirs_power > 0))
    gain = np.minimum(scipy.ndimage.uniform_filter1d(gain, _SMOOTHED_OVER_SHELLS, mode="nearest"), 1.0)
    network = 0.5 + 0.5 * np.cos(np.pi * np.clip((np.arange(shells.count) - last) / EDGE_SHELLS, 0.0, 1.0))
    shells.scale(ours, network)
    shells.scale(theirs, gain * (1.0 - network))
    ours += theirs
    return shells.density(ours)
