"""What the result holds where the half-maps do not agree: no detail of the network's making.

A network goes on where its input ends. Two half-maps that share their low frequencies would then share what it
makes of them, and their FSC would rise beyond anything the data show. There the half-map's own Fourier coefficients
stand instead, no stronger than the network would have them; where a mask has flattened the solvent, nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from extrecon.fourier.compute import Compute
from extrecon.fourier.shells import Shells, power, soft_step
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


def held_to_agreement(
    denoised: FloatArray, plain: FloatArray | None, last: int, compute: Compute
) -> npt.NDArray[np.float32]:
    """Return the denoised map up to shell ``last`` and the half-map's coefficients beyond.

    Parameters
    ----------
    denoised : (n, n, n) array, axes z, y, x
    plain : the half-map on the same scale; None for nothing beyond
    last : shell; the two after it lead over from one map to the other, but nothing stands beyond if nothing may
    compute : where to work
    """
    shells = Shells(len(denoised), compute)
    spectrum = shells.spectrum(denoised)
    # With nothing beyond, the edge lies within the agreement, unless that reaches to Nyquist.
    first = last - 1 if plain is None and last < shells.count - 1 else last
    network = soft_step(shells.count, first, EDGE_SHELLS)
    if plain is None:
        shells.scale(spectrum, network)
        return shells.density(spectrum)
    data = shells.spectrum(plain)
    ours, theirs = power(spectrum, shells), power(data, shells)
    gain = np.sqrt(np.divide(ours, theirs, out=np.zeros(shells.count), where=theirs > 0))
    gain = np.minimum(scipy.ndimage.uniform_filter1d(gain, _SMOOTHED_OVER_SHELLS, mode="nearest"), 1.0)
    shells.scale(spectrum, network)
    shells.scale(data, gain * (1.0 - network))
    spectrum += data
    return shells.density(spectrum)
