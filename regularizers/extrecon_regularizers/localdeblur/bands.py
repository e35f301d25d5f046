"""The raised-cosine filter bank of LocalDeblur, weighted by the local resolution.

Source: Ramírez-Aportela et al., Bioinformatics 2020, 36, 765, section 2.1 and its supplement.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.fourier.edges import falling_edge
from extrecon.fourier.field_bank import Bands
from extrecon.fourier.filter_bank import Values

SPACING_ANGSTROM = 0.2
_BEYOND_WORST_ANGSTROM = 2.0


def nearest_index(frequency: float, box: int) -> int:
    """Return the shell of a frequency in cycles per pixel: ``box`` times it, half rounded up."""
    return int(np.floor(box * frequency + 0.5))


def centres(
    worst_angstrom: float, pixel_size_angstrom: float, box: int, spacing_angstrom: float = SPACING_ANGSTROM
) -> Values:
    """Return the bands' centres R_i, Å: every ``spacing_angstrom`` from Nyquist to 2 Å beyond the worst resolution.

    Where several centres fall in one Fourier shell only the first is kept.
    """
    kept: list[float] = []
    last, centre = -1, 2.0 * pixel_size_angstrom
    while centre < worst_angstrom + _BEYOND_WORST_ANGSTROM:
        shell = nearest_index(pixel_size_angstrom / centre, box)
        if shell != last:
            kept.append(centre)
            last = shell
        centre += spacing_angstrom  # a running sum, as in the reference: a product would move the last centre
    return np.array(kept)


def resolution_bands(
    worst_angstrom: float,
    pixel_size_angstrom: float,
    box: int,
    k_per_square_angstrom: float,
    spacing_angstrom: float = SPACING_ANGSTROM,
) -> Bands:
    """Return the filters h_i and the weights W_i / ΣW of a local resolution.

    h_i(u) = ½ (1 + cos(π (u − ω_i) / δ_i)) for |u − ω_i| ≤ δ_i, with ω_i = 1/R_i and δ_i = 1/(R_i − spacing) − ω_i;
    W_i = exp(−K (R − R_i)²) (paper, section 2.1).
    """
    middle = centres(worst_angstrom, pixel_size_angstrom, box, spacing_angstrom)
    omega = (pixel_size_angstrom / middle)[:, None]
    width = pixel_size_angstrom / (middle[:, None] - spacing_angstrom) - omega

    def gains(frequency: Values) -> Values:
        return falling_edge(np.abs(frequency - omega) / width)

    def weights(resolution: npt.NDArray[np.float64]) -> Values:
        exponent = -k_per_square_angstrom * (resolution[:, None] - middle) ** 2
        raw = np.exp(exponent - exponent.max(axis=1, keepdims=True))  # shifted: no underflow at a large K
        normalised: Values = raw / raw.sum(axis=1, keepdims=True)
        return normalised

    return Bands(gains, weights)
