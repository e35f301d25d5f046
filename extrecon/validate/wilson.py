"""The Guinier plot's straight part: Wilson B factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrecon.errors import UsageError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WilsonFit:
    """The line ln amplitude = intercept − B / 4 · 1/d².

    Attributes
    ----------
    b_factor : Å²; positive where amplitudes fall
    intercept : ln amplitude at 1/d² = 0
    correlation : of the points with the line
    low_angstrom, high_angstrom : ends of the fitted range
    """

    b_factor: float
    intercept: float
    correlation: float
    low_angstrom: float
    high_angstrom: float


def wilson_fit(
    profile: FloatArray, pixel_size_angstrom: float, high_angstrom: float, low_angstrom: float = 10.0
) -> WilsonFit:
    """Fit a line to ln √⟨|F|²⟩ against 1/d², from ``low_angstrom`` to ``high_angstrom``.

    Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003).

    Parameters
    ----------
    profile : (n // 2 + 1,), as `extrecon.fourier.shells.guinier_profile` gives it

    Raises
    ------
    UsageError : fewer than three finite shells lie in the range.
    """
    n = 2 * (len(profile) - 1)
    frequency = np.arange(len(profile)) / (n * pixel_size_angstrom)
    used = (frequency >= 1 / low_angstrom) & (frequency <= 1 / high_angstrom + 1e-12) & np.isfinite(profile)
    if used.sum() < 3:
        raise UsageError(f"Only {int(used.sum())} shells lie between {low_angstrom:.4g} and {high_angstrom:.4g} Å.")
    x, y = frequency[used] ** 2, profile[used]
    slope, intercept = np.polyfit(x, y, 1)
    correlation = float(np.corrcoef(x, y)[0, 1]) if np.ptp(y) > 0 else 0.0
    return WilsonFit(-4 * float(slope), float(intercept), correlation, low_angstrom, high_angstrom)
