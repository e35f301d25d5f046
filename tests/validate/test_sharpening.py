"""Oversharpening with a method whose answer is known in closed form, and by the shipped ones."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from extrecon.errors import UsageError
from extrecon.fourier.compute import cpu
from extrecon.maps import HalfMap
from extrecon.validate.fsc import shell_radius
from extrecon.validate.sharpening import Sharpening, judge_sharpening, sharpening

BOX, PIXEL, RESOLUTION = 48, 1.0, 3.0
B_OF_THE_MAP = 80.0


def filtered(volume: np.ndarray, b_factor: float) -> HalfMap:
    """Return a map with a B factor, Å², low-passed at the resolution."""
    frequency = shell_radius(BOX) / (BOX * PIXEL)
    gain = np.exp(-b_factor * frequency**2 / 4) * (frequency <= 1 / RESOLUTION)
    density = np.fft.irfftn(np.fft.rfftn(volume) * gain, s=(BOX,) * 3, axes=(0, 1, 2))
    return HalfMap(density.astype(np.float32), PIXEL)


def looks(half_map: HalfMap) -> np.ndarray:
    """Return 1 / the root mean squared frequency, weighted by power: finer the sharper a map is."""
    power = np.abs(np.fft.fftn(half_map.density)) ** 2
    axis = np.fft.fftfreq(BOX, PIXEL)
    square = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    return np.full(10, np.sqrt(power.sum() / (power * square).sum()))


@pytest.fixture(scope="module")
def atoms() -> np.ndarray:
    """White noise: its amplitudes are as even as those of atoms at rest."""
    return np.random.default_rng(1).standard_normal((BOX,) * 3)


@pytest.fixture(scope="module")
def judged(atoms: np.ndarray) -> Callable[[float], Sharpening]:
    """What is told of a map with a B factor, whose signal allows what atoms at rest look like."""
    unsharpened, allowed = filtered(atoms, B_OF_THE_MAP), looks(filtered(atoms, 0.0))
    return lambda b: sharpening(filtered(atoms, b), unsharpened, allowed, looks, RESOLUTION)


def test_the_b_factor_that_suits_a_map_is_the_one_that_it_was_blurred_by(
    judged: Callable[[float], Sharpening],
) -> None:
    assert judged(0.0).b_factor == pytest.approx(-B_OF_THE_MAP, abs=6.0)


@pytest.mark.parametrize(("b_factor", "expected"), [(80.0, False), (0.0, False), (-60.0, True)])
def test_a_map_is_oversharpened_if_it_looks_finer_than_its_signal_allows(
    judged: Callable[[float], Sharpening], b_factor: float, *, expected: bool
) -> None:
    found = judged(b_factor)
    assert found.is_oversharpened is expected
    assert bool(found.warnings()) is expected
    if expected:
        assert re.search(r"-(7[5-9]|8[0-5]) Å² would suit", found.warnings()[0])


def test_the_b_factor_that_was_applied_is_told(atoms: np.ndarray, judged: Callable[[float], Sharpening]) -> None:
    assert judged(-60.0).applied_b_factor == pytest.approx(-60.0 - B_OF_THE_MAP, abs=2.0)
    unsharpened = filtered(atoms, B_OF_THE_MAP)
    as_it_was = sharpening(unsharpened, unsharpened, looks(unsharpened), looks, RESOLUTION)
    assert as_it_was.applied_b_factor is None


def noise_beyond(volume: np.ndarray, level: float) -> np.ndarray:
    """Return what lies finer than the resolution, so many times as strong."""
    beyond = shell_radius(BOX) / (BOX * PIXEL) > 1.1 / RESOLUTION
    return np.asarray(np.fft.irfftn(np.fft.rfftn(volume) * beyond * level, s=(BOX,) * 3, axes=(0, 1, 2)))


def blind_in_noise(half_map: HalfMap) -> np.ndarray:
    """Return 10 Å where most of a map is finer than the resolution, as DeepRes does of sharpened noise."""
    spectrum = np.abs(np.fft.rfftn(half_map.density)) ** 2
    beyond = spectrum[shell_radius(BOX) / (BOX * PIXEL) > 1.1 / RESOLUTION].sum() / spectrum.sum()
    return np.full(10, 10.0) if beyond > 0.5 else looks(half_map)


def test_noise_that_was_sharpened_with_it_does_not_hide_an_oversharpened_map(atoms: np.ndarray) -> None:
    allowed = looks(filtered(atoms, 0.0))
    for b_factor, expected in ((-60.0, True), (0.0, False)):
        of = filtered(atoms, b_factor)
        of = of.with_density((of.density + noise_beyond(atoms, 50.0)).astype(np.float32))
        found = sharpening(of, filtered(atoms, 80.0), allowed, blind_in_noise, RESOLUTION, sweep=False)
        assert found.map.percentile_angstrom == 10
        assert found.looks_angstrom == found.low_passed.percentile_angstrom
        assert found.is_oversharpened is expected


def test_detail_beyond_the_resolution_is_not_forgiven_because_a_low_pass_would_take_it_away(
    atoms: np.ndarray,
) -> None:
    of = filtered(atoms, 0.0)
    made_up = of.with_density((of.density + noise_beyond(atoms, 1.0)).astype(np.float32))
    found = sharpening(made_up, of, looks(of), looks, RESOLUTION, sweep=False)
    assert found.low_passed.percentile_angstrom == pytest.approx(looks(of)[0], rel=0.03)
    assert found.looks_angstrom == found.map.percentile_angstrom
    assert found.is_oversharpened


def test_a_map_that_sharpening_made_mostly_noise_is_to_be_low_passed(atoms: np.ndarray) -> None:
    unsharpened, sharp = filtered(atoms, B_OF_THE_MAP), filtered(atoms, 0.0)
    allowed = looks(sharp)
    # Where the unsharpened map is noise, too, it counts how much noise has grown beside its signal.
    for level, before, expected in ((2.0, 0.0, True), (0.3, 0.0, False), (1.0, 0.8, False), (20.0, 0.8, True)):
        of, whole = (
            each.with_density((each.density + noise_beyond(atoms, times)).astype(np.float32))
            for each, times in ((sharp, level), (unsharpened, before))
        )
        found = sharpening(of, whole, allowed, blind_in_noise, RESOLUTION, sweep=False)
        assert found.is_mostly_noise is expected
        assert any("more than 99% of the map" in told for told in found.warnings()) is (level > 10)
        assert any("low-pass it to that" in told for told in found.warnings()) is expected
    noise = noise_beyond(atoms, 2.0)
    variances = [float(np.var(volume)) for volume in (noise, sharp.density)]
    of = sharp.with_density((sharp.density + noise).astype(np.float32))
    told = sharpening(of, unsharpened, allowed, blind_in_noise, RESOLUTION, sweep=False)
    # Shells end at Nyquist and the corners of the noise lie beyond.
    assert 0.6 * variances[0] / sum(variances) < told.beyond < variances[0] / sum(variances)


def test_the_sweep_begins_with_the_map_as_it_is_and_ends_soon_after_it_looks_too_fine(
    judged: Callable[[float], Sharpening],
) -> None:
    swept = judged(0.0).swept
    wanted = judged(0.0).signal.percentile_angstrom
    assert swept[0].b_factor == 0
    percentiles = [each.percentile_angstrom for each in swept]
    assert percentiles == sorted(percentiles, reverse=True)
    assert sum(value < wanted for value in percentiles) <= 3
    assert all(each.counts.sum() == 10 for each in swept)


def test_no_map_is_looked_at_twice(atoms: np.ndarray) -> None:
    unsharpened = filtered(atoms, B_OF_THE_MAP)
    seen: list[bytes] = []

    def remember(half_map: HalfMap) -> np.ndarray:
        seen.append(half_map.density.tobytes())
        return looks(half_map)

    found = sharpening(unsharpened, unsharpened, looks(filtered(atoms, 0.0)), remember, RESOLUTION)
    assert len(set(seen)) == len(seen)
    assert found.swept[0] == found.low_passed
    assert found.beyond == found.beyond_unsharpened


def test_what_never_looks_as_fine_as_its_signal_allows_has_no_b_factor(atoms: np.ndarray) -> None:
    unsharpened = filtered(atoms, B_OF_THE_MAP)
    found = sharpening(unsharpened, unsharpened, np.full(10, 0.5), looks, RESOLUTION)
    assert found.b_factor is None
    assert not found.is_oversharpened


def test_a_map_may_look_as_fine_as_its_halves_agree_though_no_voxel_stands_out_of_the_noise(
    atoms: np.ndarray,
) -> None:
    unsharpened, at_rest = filtered(atoms, B_OF_THE_MAP), filtered(atoms, 0.0)
    noisy, agreed = np.full(10, 3 * RESOLUTION), float(looks(at_rest)[0])
    strict = sharpening(at_rest, unsharpened, noisy, looks, RESOLUTION)
    found = sharpening(at_rest, unsharpened, noisy, looks, RESOLUTION, fsc_angstrom=agreed)
    assert (strict.is_oversharpened, strict.b_factor) == (True, None)
    assert (found.is_oversharpened, found.allowed_angstrom) == (False, agreed)
    assert found.b_factor == pytest.approx(-B_OF_THE_MAP, abs=6.0)
    # Where MonoRes finds more than the whole shells agree to, that counts.
    kind = sharpening(at_rest, unsharpened, np.full(10, agreed), looks, RESOLUTION, fsc_angstrom=2 * agreed)
    assert kind.allowed_angstrom == agreed


@pytest.mark.filterwarnings("error")
def test_high_b_factors_of_a_coarse_map_do_not_overflow(atoms: np.ndarray) -> None:
    coarse = filtered(atoms, 8000.0)
    found = sharpening(coarse, coarse, np.full(10, 1.0), looks, 40.0)
    assert len(found.swept) == 13
    assert all(np.isfinite(each.percentile_angstrom) for each in found.swept)


def test_there_must_be_something_to_compare_with(atoms: np.ndarray) -> None:
    with pytest.raises(UsageError, match="give one"):
        judge_sharpening(filtered(atoms, 0.0), [], np.ones((BOX,) * 3), cpu(1))
