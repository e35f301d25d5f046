"""Ranges of resolution where a map has the opposite sign: what a wrong CTF leaves, and no half-map FSC shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import cpu
from extrecon.fourier.shells import Shells
from extrecon.validate.fsc import fsc

FloatArray = npt.NDArray[np.float64]
Volume = npt.NDArray[np.floating[Any]]

SIGMAS = 4.0
"""How far below 0 a zone's FSC must be, in its standard deviations by chance."""
FEWEST_SHELLS = 2


@dataclass(frozen=True)
class Zone:
    """Consecutive shells whose FSC with another map has one sign, beyond chance.

    Attributes
    ----------
    first_shell, last_shell : both are in the zone
    low_angstrom, high_angstrom : where it begins and ends, half a shell beyond them
    fsc : mean over its Fourier points
    sigmas : that mean over its standard deviation for independent maps; negative where the sign is opposite
    """

    first_shell: int
    last_shell: int
    low_angstrom: float
    high_angstrom: float
    fsc: float
    sigmas: float


def sign_zones(
    density: Volume,
    other: Volume,
    mask: Volume,
    pixel_size_angstrom: float,
    symmetry_order: int = 1,
    finest_angstrom: float | None = None,
) -> list[Zone]:
    """Return the zones in which two maps of the same thing agree or are opposite, from coarse to fine.

    The FSC of independent maps has mean 0 and, in a shell of N Fourier points, Friedel pairs counted as two,
    variance 1 / N (Saxton & Baumeister, J. Microsc. 127, 127 (1982)). A mask m leaves (Σ m²)² / (n³ Σ m⁴) of the
    points independent, the share of the box that it fills, and a point group of order g one of g. A zone is a
    longest run of at least `FEWEST_SHELLS` shells whose FSC has one sign; its z is Σ N FSC / √Σ N. Zones within
    `SIGMAS` of 0 are left out.

    Parameters
    ----------
    density, other : (n, n, n)
    mask : (n, n, n), 0 to 1; both are compared under it
    symmetry_order : how many operators the point group has
    finest_angstrom : shells beyond are noise and are not asked; None for all
    """
    edge = len(mask) * pixel_size_angstrom
    curve = fsc(density * mask, other * mask)
    if finest_angstrom is not None:
        curve = curve[: int(edge / finest_angstrom + 1e-6) + 1]
    points = independent_points(mask) / symmetry_order
    zones = []
    for first, last in _runs(curve):
        inside = slice(first, last + 1)
        count = float(points[inside].sum())
        mean = float((points[inside] * curve[inside]).sum() / count)
        sigmas = mean * float(np.sqrt(count))
        if abs(sigmas) >= SIGMAS:
            zones.append(Zone(first, last, edge / (first - 0.5), edge / (last + 0.5), mean, sigmas))
    return zones


def independent_points(mask: Volume) -> FloatArray:
    """Return how many Fourier points of each shell are independent under a mask, (n // 2 + 1,)."""
    n = len(mask)
    squared = np.asarray(mask, np.float64) ** 2
    share = float(squared.sum()) ** 2 / max(float((squared**2).sum()) * n**3, 1e-30)
    return Shells(n, cpu()).points() * share


def _runs(curve: FloatArray) -> Iterator[tuple[int, int]]:
    """Yield the first and last shell of each run of one sign, from shell 1 on, that is long enough."""
    start = 1
    for shell in range(2, len(curve) + 1):
        if shell == len(curve) or (curve[shell] < 0) != (curve[start] < 0):
            if shell - start >= FEWEST_SHELLS:
                yield start, shell - 1
            start = shell


def zone_numbers(zones: Sequence[Zone]) -> list[dict[str, float]]:
    """Return the zones of opposite sign, for a program."""
    return [asdict(zone) for zone in zones if zone.fsc < 0]


def zone_warning(zones: Sequence[Zone], name: str) -> str:
    """Return a sentence on the zones of opposite sign; nothing if there are none.

    Parameters
    ----------
    name : of what the map was compared with
    """
    wrong = [zone for zone in zones if zone.fsc < 0]
    if not wrong:
        return ""
    ranges = ", ".join(f"{zone.low_angstrom:.3g}–{zone.high_angstrom:.3g} Å" for zone in wrong)
    if len(wrong) == len(zones):
        return (
            f"where it agrees with the {name} at all ({ranges}), the map has the opposite sign: is its contrast "
            "inverted, or is it another hand or place?"
        )
    return (
        f"the map has the opposite sign of the {name} at {ranges}, and the same elsewhere: its CTF is likely wrong "
        "(defocus, voltage, or images whose phases were flipped already). Half-maps agree in such zones all the "
        "same, so that their FSC shows nothing"
    )
