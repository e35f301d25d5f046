"""Whether a mask can be trusted: what it does to the half-maps' FSC, and how much of that its edge alone makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from extrecon.fourier.resolution import GOLD_STANDARD, first_shell_under, resolution_of_last_above
from extrecon.maps.half_map import HalfMap
from extrecon.validate.fsc import (
    FloatArray,
    Volume,
    corrected_fsc,
    fsc,
    fsc_family,
    last_filled_shell,
    randomised_phases,
)

DRAWS = 3
_CURVES = ("unmasked", "masked", "randomised", "corrected")
LARGEST_GAP = 0.1
"""The masked FSC may be so much above the corrected one before the mask is called too sharp or too tight."""


@dataclass(frozen=True)
class MaskCheck:
    """The FSC of two half-maps under a mask.

    Attributes
    ----------
    unmasked, masked, randomised, corrected : (n // 2 + 1,); the third is the mean of `DRAWS` draws of phases
    randomised_from : shell from which on the phases were randomised
    last : shell up to which the maps hold anything; RELION's maps of an iteration end at its current image size
    pixel_size_angstrom : of the maps
    """

    unmasked: FloatArray
    masked: FloatArray
    randomised: FloatArray
    corrected: FloatArray
    randomised_from: int
    last: int
    pixel_size_angstrom: float

    def resolution(self, curve: str) -> float:
        """Return the resolution (Å, FSC 0.143) of one of the curves, by its name."""
        found = getattr(self, curve)
        ended = np.where(np.arange(len(found)) <= self.last, found, 0.0)
        return resolution_of_last_above(ended, self.pixel_size_angstrom)

    @property
    def curves(self) -> dict[str, FloatArray]:
        """The curves by name."""
        return {name: getattr(self, name) for name in _CURVES}

    def numbers(self) -> dict[str, Any]:
        """Return the resolutions and the curves, for a program."""
        resolutions = {f"{name}_resolution_angstrom": self.resolution(name) for name in _CURVES}
        return {
            **resolutions,
            "largest_gap": self.gap,
            "fsc": {name: curve.tolist() for name, curve in self.curves.items()},
        }

    def sentences(self) -> list[str]:
        """Return the resolutions, and what the randomised phases show."""
        limits = ", ".join(f"{name} {self._limit(name)}" for name in ("unmasked", "masked", "corrected"))
        beyond = self.randomised[self.randomised_from + 2 : self.last + 1]
        largest = float(np.max(beyond, initial=0.0))
        return [
            f"resolution (half-map FSC {GOLD_STANDARD}): {limits}",
            *self._end(),
            f"phases randomised beyond {self._limit_angstrom():.1f} Å: FSC under the mask at most {largest:.2f} "
            f"there; the masked curve is at most {self.gap:.2f} above the corrected one",
        ]

    def _limit(self, curve: str) -> str:
        found = self.resolution(curve)
        nyquist = 2 * self.pixel_size_angstrom
        return f"{found:.2f} Å" + (" (Nyquist)" if abs(found - nyquist) < 1e-3 * nyquist else "")

    def _end(self) -> list[str]:
        """Return what to tell of maps that end before Nyquist, where no FSC counts."""
        shells = len(self.masked) - 1
        if self.last >= shells:
            return []
        angstrom = 2 * shells * self.pixel_size_angstrom / self.last
        return [f"the half-maps end at {angstrom:.2f} Å (shell {self.last} of {shells}); finer shells do not count"]

    def _limit_angstrom(self) -> float:
        box_angstrom = 2 * (len(self.masked) - 1) * self.pixel_size_angstrom
        return box_angstrom / max(self.randomised_from, 1)

    @property
    def gap(self) -> float:
        """How far the masked FSC rises above the corrected one at most, up to the masked resolution."""
        end = min(first_shell_under(self.masked, GOLD_STANDARD), self.last)
        return float(np.max((self.masked - self.corrected)[: end + 1]))

    @property
    def warning(self) -> str:
        """What to tell if the edge of the mask adds correlation of its own; nothing if it does not."""
        if self.gap <= LARGEST_GAP:
            return ""
        return (
            f"the masked FSC is up to {self.gap:.2f} above the one corrected by phase randomisation: the mask is "
            "too tight or its edge too sharp, and agreement that it makes itself would pass for resolution; give "
            "a larger --edge or --extension"
        )


def check_mask(first: HalfMap, second: HalfMap, mask: Volume) -> MaskCheck:
    """Return what a mask does to two half-maps.

    Chen et al., Ultramicroscopy 135, 24 (2013), as `fsc_family` does it; a single draw of random phases is noisy
    where a small mask leaves few independent points in a shell, so several are averaged.
    """
    one, two = (np.asarray(half.density, np.float64) for half in (first, second))
    family = fsc_family(one, two, mask)
    start, draws = family.randomised_from, [family.randomised]
    for seed in range(1, DRAWS):
        rng = np.random.default_rng(seed)
        draws.append(fsc(*(randomised_phases(each, start, rng) * mask for each in (one, two))))
    randomised = np.mean(draws, axis=0)
    corrected = corrected_fsc(family.masked, randomised, start)
    last, pixel = last_filled_shell(one), first.pixel_size_angstrom
    return MaskCheck(family.unmasked, family.masked, randomised, corrected, start, last, pixel)


def overlap(first: Volume, second: Volume) -> float:
    """Return the overlap of two masks, 0 to 1: twice what both hold over the sum of what each holds (Dice 1945)."""
    both = float(np.minimum(first, second).sum(dtype=np.float64))
    return 2 * both / max(float(first.sum(dtype=np.float64)) + float(second.sum(dtype=np.float64)), 1e-30)
