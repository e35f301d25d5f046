"""How far a curve over Fourier shells reaches: where it first falls under a threshold, as a shell and in Å.

A curve has one value a shell, from 0 to n // 2. Shell 0, the mean, is never asked. Resolutions are those of whole
shells: nothing interpolates between two of them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]

ONE_SEVENTH = 1 / 7
"""The half-map FSC at which a full map's phases become uncertain; what is decided or cut is decided by this.

Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003): there C_ref, the full map's correlation with a perfect one, is
1/2, from C_ref = √(2 FSC / (1 + FSC)).
"""

GOLD_STANDARD = 0.143
"""The same as RELION's postprocess and most papers round it; resolutions that are compared with theirs take this.

A shell whose FSC lies between 1/7 and 0.143 passes the one and fails the other, so the two are kept apart.
"""

HALF = 0.5
"""The FSC with a truth or model at which a quarter of a map's power is signal (FSC² is the share)."""


def last_shell_above(curve: Curve, threshold: float | Curve) -> int:
    """Return the last shell before the curve first falls under a threshold; its last one if it never does.

    Parameters
    ----------
    curve : (n // 2 + 1,)
    threshold : one number, or one for each shell
    """
    return first_shell_under(curve, threshold) - 1


def first_shell_under(curve: Curve, threshold: float | Curve) -> int:
    """Return the first shell from 1 on at which the curve is under a threshold; its length if there is none.

    Parameters
    ----------
    curve : (n // 2 + 1,)
    threshold : one number, or one for each shell
    """
    under = np.flatnonzero((curve < threshold)[1:])
    return int(under[0]) + 1 if under.size else curve.size


def cutoff_shell(half_map_fsc: Curve) -> int:
    """Return the last shell before the half-map FSC, (n // 2 + 1,), first falls under 1/7."""
    return last_shell_above(half_map_fsc, ONE_SEVENTH)


def resolution_of_last_above(curve: Curve, pixel_size_angstrom: float, threshold: float = GOLD_STANDARD) -> float:
    """Return the resolution, Å, of the last shell before the curve first falls under the threshold.

    What RELION's postprocess tells. Infinite if that is shell 0; Nyquist if the curve never falls. The box is taken
    for even: n = 2 (shells − 1).
    """
    last = last_shell_above(curve, threshold)
    return math.inf if last == 0 else 2 * (len(curve) - 1) * pixel_size_angstrom / last


def resolution_of_first_under(curve: Curve, box: int, pixel_size_angstrom: float, threshold: float) -> float:
    """Return the resolution, Å, of the first shell at which the curve is under the threshold, else of its last.

    By one shell finer than `resolution_of_last_above`, and never infinite.

    Parameters
    ----------
    curve : (box // 2 + 1,)
    box : voxels, even or odd
    """
    return box * pixel_size_angstrom / min(first_shell_under(curve, threshold), len(curve) - 1)
