from __future__ import annotations

import numpy as np
import pytest

from extrecon.call.alignment import measure_shift
from extrecon.call.safeguards import Guarded, guard
from extrecon.errors import SafeguardError
from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon.fourier.resolution import cutoff_shell
from extrecon.fourier.shells import Shells, power
from tests.jobs import blobs

N = 24


def plain_map() -> np.ndarray:
    return blobs(N) + 0.02 * np.random.default_rng(5).normal(size=(N, N, N)).astype(np.float32)


def guarded(
    density: np.ndarray, plain: np.ndarray, fsc: np.ndarray | None = None, scale: bool = True, cut: bool = True
) -> Guarded:
    return guard(
        density, plain, half_map_fsc=fsc, shell_scale=scale, fsc_cutoff=cut, bound_gain=True, compute=cpu()
    )


def moved(density: np.ndarray, shift: tuple[float, float, float]) -> np.ndarray:
    spectrum = np.fft.fftn(density)
    for axis, s in enumerate(shift):
        k = np.fft.fftfreq(N).reshape([-1 if i == axis else 1 for i in range(3)])
        spectrum = spectrum * np.exp(-2j * np.pi * k * s)
    return np.fft.ifftn(spectrum).real.astype(np.float32)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.05, 0.0, -0.02), (0.3, -0.4, 0.2), (2.5, -1.25, 7.0)])
@pytest.mark.parametrize("compute", [cpu(), TorchCompute("cpu")], ids=["numpy", "torch"])
def test_a_shift_is_measured(shift: tuple[float, float, float], compute: Compute) -> None:
    shells = Shells(N, compute)
    density = blobs(N)
    ours, theirs = shells.spectrum(moved(density, shift)), shells.spectrum(density)
    assert measure_shift(ours, theirs, compute) == pytest.approx(shift, abs=0.01)


def test_a_large_box_is_measured_on_few_shells() -> None:
    shells = Shells(80, cpu())
    density = blobs(80)
    rolled = np.roll(density, (1, -2, 3), (0, 1, 2))
    assert measure_shift(shells.spectrum(rolled), shells.spectrum(density), cpu()) == pytest.approx(
        (1, -2, 3), abs=0.01
    )


def test_a_shifted_map_is_refused() -> None:
    plain = plain_map()
    with pytest.raises(SafeguardError, match=r"shifted the map by 0\.20 px"):
        guarded(moved(plain, (0.2, 0.0, 0.0)), plain)
    assert guarded(moved(plain, (0.05, 0.0, 0.0)), plain, cut=False).facts["shift_px"][0] == pytest.approx(
        0.05, abs=0.01
    )


def test_maps_that_cannot_be_are_refused() -> None:
    plain = plain_map()
    broken = plain.copy()
    broken[0, 0, :2] = np.nan, np.inf
    for density, told in (
        (broken, "2 of 13824 values that are NaN or infinite"),
        (plain[:-1], "returned 23×24×24 voxels for a half-map of 24×24×24"),
        (np.zeros_like(plain), "empty map"),
    ):
        with pytest.raises(SafeguardError, match=told):
            guarded(density, plain)


def test_grey_scale_comes_back_per_shell() -> None:
    plain = plain_map()
    shells = Shells(N, cpu())
    spectrum = shells.spectrum(plain)
    shells.scale(spectrum, np.geomspace(1e-3, 1e3, shells.count))
    result = guarded(shells.density(spectrum), plain, cut=False)
    kept = Shells(N, cpu())
    inside = slice(0, N // 2)
    ours, theirs = (power(kept.spectrum(m), kept)[inside] for m in (result.density, plain))
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_no_shell_gains_power() -> None:
    plain = plain_map()
    rng = np.random.default_rng(9)
    anything = (plain**2 + 0.1 * rng.normal(size=plain.shape)).astype(np.float32)
    shells = Shells(N, cpu())
    result = guarded(anything, plain, cut=False)
    ours, theirs = (power(shells.spectrum(m), shells) for m in (result.density, plain))
    assert np.all(ours <= theirs * (1 + 1e-4))


def test_what_the_halves_do_not_agree_on_is_cut() -> None:
    plain = plain_map()
    fsc = np.where(np.arange(N // 2 + 1) < 6, 0.9, 0.1)
    fsc[9] = 0.5  # coming back later does not count
    result = guarded(1.5 * plain, plain, fsc=fsc)
    assert result.facts["fsc_cutoff"] == 5
    shells = Shells(N, cpu())
    ours, theirs = (power(shells.spectrum(m), shells) for m in (result.density, plain))
    assert ours[:6] == pytest.approx(theirs[:6], rel=1e-4)
    assert ours[6] == pytest.approx(theirs[6] / 4, rel=1e-3)
    assert np.all(ours[7:] < 1e-8 * theirs[7:])


def test_both_corrections_can_be_turned_off_by_name() -> None:
    plain = plain_map()
    result = guarded(1.5 * plain, plain, fsc=np.zeros(N // 2 + 1), scale=False, cut=False)
    assert np.allclose(result.density, 1.5 * plain, atol=1e-4)
    assert result.facts["shell_scale"] == "off"
    assert result.facts["fsc_cutoff"] == "off"


def test_an_fsc_that_would_leave_nothing_is_refused() -> None:
    plain = plain_map()
    fsc = np.where(np.arange(N // 2 + 1) < 2, 0.9, 0.0)
    with pytest.raises(SafeguardError, match="under 1/7 at shell 2: a map"):
        guarded(1.5 * plain, plain, fsc=fsc)


def test_without_an_fsc_nothing_is_cut_and_the_user_is_told() -> None:
    plain = plain_map()
    result = guarded(1.5 * plain, plain)
    assert result.facts["fsc_cutoff"] == "no FSC"
    assert result.warnings == ["no half-map FSC is known, so the result was not cut off at 1/7"]


def test_a_runaway_shell_is_refused_when_scaling_is_off() -> None:
    plain = plain_map()
    shells = Shells(N, cpu())
    spectrum = shells.spectrum(plain)
    factor = np.ones(shells.count)
    factor[7] = 1e4
    shells.scale(spectrum, factor)
    with pytest.raises(SafeguardError, match="amplitudes of Fourier shell 7 by a factor of 1e"):
        guarded(shells.density(spectrum), plain, scale=False, cut=False)


def test_a_mean_next_to_nothing_is_measured_by_the_shell_beside_it() -> None:
    # Where positive and negative density balance, whatever changes the solvent's level raises the mean manifold.
    density = plain_map()
    plain = density - np.float32(0.995) * density.mean()
    found = guarded(density, plain, scale=False, cut=False)
    assert found.facts["largest_amplitude_gain"] < 10
    with pytest.raises(SafeguardError, match="amplitudes of Fourier shell 0"):
        guarded(density + np.float32(1e3) * density.mean(), plain, scale=False, cut=False)


def test_the_cutoff_is_the_last_shell_before_the_fall() -> None:
    assert cutoff_shell(np.array([1.0, 1.0, 0.5, 0.14, 0.9])) == 2
    assert cutoff_shell(np.array([0.0, 1.0, 0.5])) == 2
    assert cutoff_shell(np.array([1.0, 0.1, 0.5])) == 0
