"""The iterations of LocalDeblur: as published, and as the reference program runs them.

H is the spatially varying filter bank of the local resolution, see `bands` beside this file. Outside the
region that has a local resolution H v is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.field_bank import bank_of_field
from extrecon.fourier.filter_bank import FilterBank
from extrecon.maps.half_map import FloatArray
from extrecon.regularizer import Progress, no_progress
from extrecon_regularizers.localdeblur.bands import SPACING_ANGSTROM, resolution_bands
from extrecon_regularizers.localdeblur.recycled import Recycled, norm

_BANK_TOLERANCE = 1e-5  # of the largest gain
_ROUND_TOLERANCE = 5e-6  # of ‖H V‖, for each application of H: the sharpened map then errs by some 1e-6


@dataclass(frozen=True)
class DeblurSettings:
    """How to deblur.

    Attributes
    ----------
    k_per_square_angstrom : K of the weights exp(−K (R − R_i)²), Å⁻²
    step_angstrom : spacing of the bands, Å
    rounds : at most so many iterations
    step_size : λ; 0 for automatic
    """

    k_per_square_angstrom: float = 0.025
    step_angstrom: float = SPACING_ANGSTROM
    rounds: int = 50
    step_size: float = 0.0
    dtype: npt.DTypeLike = np.float32


@dataclass(frozen=True)
class Deblurred:
    """A deblurred map.

    Attributes
    ----------
    density : (n, n, n) array, axes z, y, x
    step_size : λ used
    rounds : iterations done
    facts : further numbers for the record
    warnings : sentences for the user
    """

    density: FloatArray
    step_size: float
    rounds: int
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def deblur_xmipp(
    volume: FloatArray,
    resolution_angstrom: FloatArray,
    pixel_size_angstrom: float,
    sigma_outside: float,
    settings: DeblurSettings,
    *,
    compute: Compute,
    progress: Progress = no_progress,
) -> Deblurred:
    """Deblur as the reference program does.

    S ← max(S + λ H(V − H S), −4 σ_out) from S = V, with λ = (‖V‖ / ‖H V‖) / 12. Stops after round n > 2 (the first
    is 1) once 100 ‖H S_{n−1}‖ / ‖H S_n‖ has risen by less than 1. There is no 1/SNR term, and H stands where the
    paper has Hᵀ.

    Parameters
    ----------
    volume : (n, n, n) array V, axes z, y, x
    resolution_angstrom : (n, n, n) array, Å, 0 where there is none
    pixel_size_angstrom : Å
    sigma_outside : σ_out, the standard deviation of the solvent
    settings, compute, progress : how, where, and whom to tell
    """
    bank = bank_for(compute, resolution_angstrom, pixel_size_angstrom, settings)
    state = _XmippRounds(bank, compute.to_device(volume, settings.dtype), -4.0 * sigma_outside, settings.step_size)
    ratio, last_ratio, done = 0.0, 1.0, 0
    for done in range(1, settings.rounds + 1):
        progress("deblurring", (done - 1) / settings.rounds)
        ratio = state.refresh() if done > 1 else 0.0
        state.update()
        if done > 2 and ratio - last_ratio < 1.0:
            break
        last_ratio = ratio
    progress("deblurring", 1.0)
    facts = {"bank_rank": bank.rank, "norm_ratio_percent": ratio}
    return Deblurred(compute.to_numpy(state.whole()), state.step_size, done, facts)


class _XmippRounds:
    """The volumes that one round of the reference program's iteration hands to the next.

    H is linear, and what it is applied to changes little from round to round. So it is applied to the changes
    alone, each with as few terms of the bank as the change's size allows. Outside the bank's block S changes once,
    by the first clipping.
    """

    def __init__(self, bank: FilterBank, volume: Array, floor: float, step_size: float) -> None:
        self._bank, self._floor, self._clip = bank, floor, bank.compute.xp.clip
        self._blurred = bank.apply(volume)  # H S
        self._size = norm(bank, self._blurred)
        if self._size == 0:
            raise RegularizerError(
                "The filter bank leaves nothing of the map: is it constant, or empty in the mask?"
            )
        self.step_size = step_size or norm(bank, volume) / self._size / 12.0
        allowed = _ROUND_TOLERANCE * self._size
        # An error of H S reaches the sharpened map through H once more, so it may be larger by H's largest gain.
        self._change_of = Recycled(bank, allowed / float(bank.errors[0]))
        self._second_change_of = Recycled(bank, allowed)
        self._pull = self._blurred - bank.apply(self._blurred)  # H(V − H S)
        self._clipped = self._clip(volume, floor, None)
        self._first_clip = self._clipped - volume
        self._first_clip[bank.region] = 0.0
        self._sharp = volume[bank.region]
        self._before = self._sharp

    def update(self) -> None:
        """S ← max(S + λ H(V − H S), floor)."""
        self._before = self._sharp
        self._sharp = self._clip(self._sharp + self.step_size * self._pull, self._floor, None)

    def refresh(self) -> float:
        """Bring H S and H(V − H S) up to date with S; return 100 ‖H S‖ before / ‖H S‖ now."""
        change = self._change_of(self._sharp - self._before)
        if self._first_clip is not None:
            change = change + self._of_first_clip()
        self._blurred = self._blurred + change
        self._pull = self._pull - self._second_change_of(change)
        size_before, self._size = self._size, norm(self._bank, self._blurred)
        return 100.0 * size_before / self._size

    def whole(self) -> Array:
        """Return S on the whole box."""
        self._clipped[self._bank.region] = self._sharp
        return self._clipped

    def _of_first_clip(self) -> Array | float:
        clip, self._first_clip = self._first_clip, None
        size = norm(self._bank, clip)
        if size == 0:
            return 0.0
        return self._bank.apply(clip, self._bank.terms_for(self._change_of.error / size))


def bank_for(
    compute: Compute,
    resolution_angstrom: FloatArray,
    pixel_size_angstrom: float,
    settings: DeblurSettings,
    whole_box: bool = False,
) -> FilterBank:
    """Return the filter bank of a local resolution; voxels finer than Nyquist count as at Nyquist."""
    nyquist = 2.0 * pixel_size_angstrom
    worst = float(resolution_angstrom.max())
    inside = resolution_angstrom > 0
    bands = resolution_bands(
        worst, pixel_size_angstrom, len(inside), settings.k_per_square_angstrom, settings.step_angstrom
    )
    return bank_of_field(
        compute,
        np.maximum(resolution_angstrom, nyquist),
        inside,
        bands,
        _BANK_TOLERANCE,
        dtype=settings.dtype,
        whole_box=whole_box,
    )
