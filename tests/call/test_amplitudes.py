"""The amplitude of each shell, told by the other half: right for a known truth, bounded, nothing from noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.call.amplitudes import fit_by_other_half
from extrecon.fourier.compute import cpu
from extrecon.fourier.shells import Shells, correlation, power

BOX = 64
SHELLS = Shells(BOX, cpu(1))
Volume = npt.NDArray[np.float32]
Curve = npt.NDArray[np.float64]


def white(seed: int) -> Volume:
    return np.random.default_rng(seed).standard_normal((BOX,) * 3, dtype=np.float32)


def shaped(volume: Volume, gain: Curve) -> Volume:
    spectrum = SHELLS.spectrum(volume)
    SHELLS.scale(spectrum, gain)
    return SHELLS.density(spectrum)


AMPLITUDE = np.exp(-np.arange(SHELLS.count) / 12.0)
TRUTH = shaped(white(1), AMPLITUDE)
DAMPING = 1.0 / (1.0 + 0.05 / AMPLITUDE**2)


def half(seed: int, noise: float = 0.22) -> Volume:
    """Return a half-map as RELION damps it."""
    return shaped(TRUTH + np.float32(noise) * white(seed), DAMPING)


def best_scale(found: Volume) -> Curve:
    """Return the factor that brings each shell nearest to the truth."""
    ours, truth = SHELLS.spectrum(found), SHELLS.spectrum(TRUTH)
    return correlation(ours, truth, SHELLS) / power(ours, SHELLS)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e5])
def test_it_is_the_scale_that_brings_the_map_nearest_to_the_truth(unit: float) -> None:
    first, second = half(2), half(3)
    # A regularizer that keeps some of its half's noise, damps as it likes, and has a unit of its own.
    regularized = np.float32(unit) * (0.4 * TRUTH + 0.1 * first)
    scale = fit_by_other_half(regularized, first, second, DAMPING, cpu(1)).scale
    assert scale[3:25] == pytest.approx(best_scale(regularized)[3:25], rel=0.1)
    itself = correlation(SHELLS.spectrum(regularized), SHELLS.spectrum(first), SHELLS)
    by_itself = itself / power(SHELLS.spectrum(regularized), SHELLS)
    assert (by_itself[15:25] < 0.75 * scale[15:25]).all()  # least squares with the damped half-map is too weak


def test_no_shell_gets_more_than_what_both_halves_share() -> None:
    first, second = half(2), half(3)
    for seed, share in ((4, 0.0), (5, 0.3), (6, 1.0)):
        regularized = share * TRUTH + 0.3 * white(seed)
        scaled = shaped(regularized, fit_by_other_half(regularized, first, second, DAMPING, cpu(1)).scale)
        signal = power(SHELLS.spectrum(TRUTH), SHELLS)
        assert (power(SHELLS.spectrum(scaled), SHELLS)[2:25] < 1.15 * signal[2:25]).all()


def test_noise_of_both_halves_gives_next_to_nothing() -> None:
    first, second = white(7), white(8)
    scaled = shaped(first, fit_by_other_half(first, first, second, np.ones(SHELLS.count), cpu(1)).scale)
    share = power(SHELLS.spectrum(scaled), SHELLS)[1:].sum() / power(SHELLS.spectrum(first), SHELLS)[1:].sum()
    assert share < 1e-3


def test_a_shell_without_data_or_of_the_wrong_sign_is_emptied() -> None:
    first, second = half(2), half(3)
    damping = DAMPING.copy()
    damping[20:] = 0
    scale = fit_by_other_half(first, first, second, damping, cpu(1)).scale
    assert (scale[20:] == 0).all()
    assert (scale[2:18] > 0).all()
    assert (fit_by_other_half(-first, first, second, DAMPING, cpu(1)).scale[2:25] == 0).all()


def test_what_the_scaled_map_errs_by_is_told() -> None:
    first, second = half(2), half(3)
    regularized = np.float32(7.0) * (0.4 * TRUTH + 0.1 * first)
    fit = fit_by_other_half(regularized, first, second, DAMPING, cpu(1))
    scaled = shaped(regularized, fit.scale)
    signal = power(SHELLS.spectrum(TRUTH), SHELLS) / SHELLS.points()
    error = power(SHELLS.spectrum(TRUTH) - SHELLS.spectrum(scaled), SHELLS) / SHELLS.points()
    assert fit.signal_power[3:25] == pytest.approx(signal[3:25], rel=0.15)
    known = slice(12, 25)  # where it is not lost in the scatter of the signal's power
    assert fit.error_power[known] == pytest.approx(error[known], abs=0.1 * signal[known].max())
    assert (fit.error_power >= 0.0099 * fit.signal_power).all()
    useless = fit_by_other_half(white(9), first, second, DAMPING, cpu(1))
    assert useless.error_power[3:25] == pytest.approx(useless.signal_power[3:25], rel=0.1)
