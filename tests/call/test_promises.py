"""What the safeguards promise of any map that passes, each promise with a map just inside and one just outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from extrecon.call import safeguards
from extrecon.call.alignment import compare_orientations, lay_out, measure_rotation
from extrecon.call.likeness import last_signal_shell
from extrecon.call.plugin import real_array
from extrecon.call.safeguards import Guarded, guard
from extrecon.call.treatment import flattened
from extrecon.errors import SafeguardError
from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon.fourier.masks import radius_px, soft_sphere
from extrecon.fourier.shells import Shells, power, soft_step
from tests.jobs import blobs

N = 40
COUNT = N // 2 + 1
FSC = np.where(np.arange(COUNT) <= 12, 0.9, 0.3)  # shells 1 to 12 hold signal

Volume = np.ndarray


def plain_map() -> Volume:
    noise = np.random.default_rng(5).normal(size=(N, N, N))
    return (blobs(N) + 0.01 * noise).astype(np.float32)


def guarded(density: Volume, plain: Volume, **changes: Any) -> Guarded:
    how = {"half_map_fsc": FSC, "shell_scale": True, "fsc_cutoff": True, "bound_gain": True, "compute": cpu()}
    return guard(density, plain, **{**how, **changes})


def turned(density: Volume, degrees: float, axis: tuple[float, float, float] = (1, 2, 3)) -> Volume:
    matrix = Rotation.from_rotvec(degrees * np.array(axis) / np.linalg.norm(axis), degrees=True).as_matrix()
    centre = np.full(3, len(density) // 2)
    # affine_transform asks for the inverse, and its axes are z, y, x.
    back = matrix.T[::-1, ::-1]
    return np.asarray(affine_transform(density, back, centre - back @ centre, order=5), dtype=np.float32)


def moved(density: Volume, shift_px: float) -> Volume:
    phase = np.exp(-2j * np.pi * np.fft.fftfreq(N) * shift_px)
    return np.fft.ifft(np.fft.fft(density, axis=2) * phase, axis=2).real.astype(np.float32)


def shells_scaled(density: Volume, factor: Volume) -> Volume:
    shells = Shells(len(density), cpu())
    spectrum = shells.spectrum(density)
    shells.scale(spectrum, factor)
    return shells.density(spectrum)


def with_other_phases(density: Volume, share: float) -> Volume:
    """Return the map plus ``share`` times one of the same spectrum that shows something else."""
    shells = Shells(len(density), cpu())
    noise = np.random.default_rng(3).normal(size=density.shape).astype(np.float32)
    wanted, given = (power(shells.spectrum(m), shells) for m in (density, noise))
    return density + share * shells_scaled(noise, np.sqrt(wanted / given))


def test_real() -> None:
    density = plain_map()
    assert real_array(density.astype(np.float64)).dtype == np.float32
    assert np.array_equal(real_array(np.arange(8)), np.arange(8))
    for wrong, told in ((density + 0j, "complex numbers"), (np.array(["1.0"]), "array of numbers")):
        with pytest.raises(SafeguardError, match=told):
            real_array(wrong)


def test_finite_as_float32() -> None:
    plain = plain_map()
    largest = plain.astype(np.float64)
    largest[0, 0, 0] = 1e38
    assert np.isfinite(real_array(largest)).all()
    for value in (1e39, np.inf, np.nan):
        largest[0, 0, 0] = value
        with pytest.raises(SafeguardError, match=r"1 of 64000 values that are NaN or infinite"):
            guarded(real_array(largest), plain)


def test_the_same_shape() -> None:
    plain = plain_map()
    with pytest.raises(SafeguardError, match="40×40×39 voxels for a half-map of 40×40×40"):
        guarded(plain[:, :, :-1], plain)


def test_not_empty() -> None:
    plain = plain_map()
    assert guarded(2e-12 * plain, plain).density.max() == pytest.approx(plain.max(), rel=0.2)
    for empty in (0.5e-12 * plain, real_array(1e-60 * plain.astype(np.float64)), np.zeros_like(plain)):
        with pytest.raises(SafeguardError, match="empty map"):
            guarded(empty, plain)


def test_a_constant_map_shows_nothing() -> None:
    with pytest.raises(SafeguardError, match=r"another map: .* correlates -?0\.0\d"):
        guarded(np.full((N,) * 3, 3.0, np.float32), plain_map())


def test_not_shifted() -> None:
    plain = plain_map()
    assert guarded(moved(plain, 0.09), plain).facts["shift_px"][2] == pytest.approx(0.09, abs=0.005)
    with pytest.raises(SafeguardError, match=r"shifted the map by 0\.11 px"):
        guarded(moved(plain, 0.11), plain)


def test_what_a_mask_cuts_off_is_no_shift_and_no_turn() -> None:
    """As of a body, whose neighbour is in the half-map as well, or of a filament that leaves the box."""
    axis = np.arange(N) - N // 2
    neighbour = np.exp(-((axis[:, None, None] - 8) ** 2 + axis[:, None] ** 2 + axis**2) / 50.0)
    plain = plain_map() + neighbour.astype(np.float32)
    mask = soft_sphere(N, 9)
    cut = flattened(plain, mask)
    with pytest.raises(SafeguardError, match=r"shifted the map by 1\.\d\d px"):
        guarded(cut, plain)
    for relions in (False, True):
        facts = guarded(cut, plain, mask=mask, masked_by_relion=relions).facts
        assert np.abs(facts["shift_px"]).max() < 1e-3
        assert facts["rotation_degrees"] < 0.01
        assert (facts["correlation"] > 0.999) is relions  # what RELION will cut off does not count
    assert guarded(flattened(moved(plain, 0.09), mask), plain, mask=mask).facts["shift_px"][2] > 0.05
    with pytest.raises(SafeguardError, match=r"shifted the map by 0\.1\d px"):
        guarded(flattened(moved(plain, 0.2), mask), plain, mask=mask)
    nothing = soft_sphere(N, 0, 1.0)
    with pytest.raises(SafeguardError, match=r"another map"):
        guarded(flattened(plain, nothing), plain, mask=nothing)


def with_corners(density: Volume, level: float) -> Volume:
    """Return the map as RELION writes it with padding 1: a level outside the sphere, divided by sinc²(r / n)."""
    distance = radius_px(len(density))
    outside = np.clip((distance - len(density) / 2) / 3, 0, 1)
    return ((density + (level - density) * outside) / np.sinc(distance / len(density)) ** 2).astype(np.float32)


@pytest.mark.parametrize("level", [0.015, 0.3, 10.0])
def test_what_lies_outside_the_sphere_hides_no_shift_and_feigns_none(level: float) -> None:
    plain = with_corners(plain_map(), level)
    sphere = soft_sphere(N, 14)
    found = guarded(plain * sphere, plain)  # a regularizer leaves out what is no particle
    assert found.facts["compared"] == "in the sphere"
    assert np.abs(found.facts["shift_px"]).max() < 0.01
    assert found.facts["correlation"] > 0.95
    inside = sphere == 1
    assert np.linalg.norm((found.density - plain)[inside]) < 0.1 * np.linalg.norm(plain[inside])
    assert guarded(moved(plain * sphere, 0.09), plain).facts["shift_px"][2] == pytest.approx(0.09, abs=0.01)
    with pytest.raises(SafeguardError, match=r"shifted the map by 0\.3\d px"):
        guarded(moved(plain * sphere, 0.35), plain)
    # The corners stay as they were, and outweigh the particle.
    with pytest.raises(SafeguardError, match=r"turned or mirrored|another map|shifted"):
        guarded(plain + (plain[:, ::-1] - plain) * sphere, plain)


def test_what_lies_outside_the_sphere_counts_where_it_is_weak() -> None:
    plain = plain_map()
    assert "compared" not in guarded(1.5 * plain, plain).facts
    assert "compared" not in guarded(1.5 * plain, with_corners(plain, 0.01)).facts
    noise = np.random.default_rng(5).normal(size=plain.shape).astype(np.float32)
    assert "compared" not in guarded(1.5 * noise, noise).facts


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 2, 3)])
@pytest.mark.parametrize("compute", [cpu(), TorchCompute("cpu")], ids=["numpy", "torch"])
def test_a_rotation_is_measured(axis: tuple[float, float, float], compute: Compute) -> None:
    shells = Shells(N, compute)
    plain = blobs(N)
    unit = np.array(axis) / np.linalg.norm(axis)
    for degrees in (0.0, 0.5, -3.0):
        laid = [lay_out(shells.spectrum(m), 12, compute) for m in (turned(plain, degrees, axis), plain)]
        found = measure_rotation(*(each.weighted(soft_step(13, 0, 13)) for each in laid))
        assert found.degrees == pytest.approx(degrees * unit, abs=0.02 + 0.1 * abs(degrees))
        assert (found.share > 0.9) == (degrees != 0)


def test_not_turned() -> None:
    plain = plain_map() + flipped(plain_map(), 0, 1, 2)  # its middle stays where it is when it is turned
    assert 0.7 < guarded(turned(plain, 0.9), plain).facts["rotation_degrees"] < 1.0
    for degrees in (1.3, 3.0, 8.0):
        with pytest.raises(SafeguardError, match=r"turned the map by \d\.\d° or more"):
            guarded(turned(plain, degrees), plain)
    for degrees in (30.0, 77.0, 140.0):
        with pytest.raises(SafeguardError, match=r"turned|another map|shifted"):
            guarded(turned(plain, degrees), plain)


def flipped(density: Volume, *axes: int) -> Volume:
    """Return the map mirrored through its origin, voxel ``n // 2``, along some axes."""
    even = 1 - len(density) % 2
    return np.roll(np.flip(density, axes), even, axes)


WAYS: dict[str, Callable[[Volume], Volume]] = {
    "mirrored": lambda d: flipped(d, 2),
    "inverted through the centre": lambda d: flipped(d, 0, 1, 2),
    "axes x, y, z for z, y, x": lambda d: d.transpose(2, 1, 0),
    "a quarter turn": lambda d: flipped(d.transpose(0, 2, 1), 1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("box", [N, N - 1])
def test_the_right_hand_and_axes(way: str, box: int) -> None:
    plain = plain_map()[:box, :box, :box]
    laid = np.ascontiguousarray(WAYS[way](plain))
    with pytest.raises(SafeguardError, match=r"mirrored the map: it correlates -?0\.\d\d .* and 1\.00 with"):
        guarded(laid, plain, half_map_fsc=FSC[: box // 2 + 1])


def test_another_orientation_may_fit_as_well_but_not_better() -> None:
    # A map with a mirror plane fits its mirror image perfectly, and nothing is wrong with that.
    shells = Shells(N, cpu())
    density = plain_map()
    symmetric = density + np.roll(density[:, :, ::-1], 1, axis=2)
    laid = [lay_out(shells.spectrum(m), 12, cpu()).weighted(np.ones(13)) for m in (symmetric, symmetric)]
    found = compare_orientations(*laid)
    assert found.otherwise == pytest.approx(found.as_it_lies, abs=1e-6)
    assert guarded(shells_scaled(symmetric, np.linspace(1, 0.5, COUNT)), symmetric).facts["correlation"] > 0.99


def test_correlated_with_the_half_map() -> None:
    plain = plain_map()
    inside = guarded(with_other_phases(plain, 1.5), plain)
    assert inside.facts["correlation"] == pytest.approx(1 / np.hypot(1, 1.5), abs=0.03)
    with pytest.raises(SafeguardError, match=r"returned another map: over the shells that hold signal \(1 to 12\)"):
        guarded(with_other_phases(plain, 2.0), plain)
    with pytest.raises(SafeguardError, match=r"correlates -1\.00 with the half-map"):
        guarded(-plain, plain)


def test_the_strong_shells_are_still_there() -> None:
    plain = plain_map()
    shells = Shells(N, cpu())
    share = np.cumsum(power(shells.spectrum(plain), shells)[1:13])
    weak_from = 2 + int(np.searchsorted(share, 0.75 * share[-1]))
    few = np.where(np.arange(COUNT) < weak_from, 0.0, 1.0)
    most = np.where(np.arange(COUNT) < 2, 0.0, 1.0)
    assert guarded(shells_scaled(plain, most), plain).facts["correlation"] > 0.9
    with pytest.raises(SafeguardError, match=r"lost the map's strong shells: it explains 2\d %|1\d %"):
        guarded(shells_scaled(plain, few), plain)


def test_amplitudes_without_the_shell_scale() -> None:
    plain = plain_map()
    factor = np.ones(COUNT)
    for gain, passes in ((99.0, True), (101.0, False)):
        factor[9] = gain
        sharpened = shells_scaled(plain, factor)
        if passes:
            facts = guarded(sharpened, plain, shell_scale=False, fsc_cutoff=False).facts
            assert facts["largest_amplitude_gain"] == pytest.approx(gain, rel=1e-3)
        else:
            with pytest.raises(SafeguardError, match="shell 9 by a factor of 101"):
                guarded(sharpened, plain, shell_scale=False, fsc_cutoff=False)


def test_no_shell_gains_power_with_the_shell_scale() -> None:
    plain = plain_map()
    result = guarded(with_other_phases(7 * plain, 1.0), plain)
    shells = Shells(N, cpu())
    ours, theirs = (power(shells.spectrum(m), shells) for m in (result.density, plain))
    assert np.all(ours <= theirs * (1 + 1e-4))


def test_nothing_is_left_beyond_the_cutoff() -> None:
    plain = plain_map()
    fsc = np.where(np.arange(COUNT) <= 12, 0.9, 0.1)
    result = guarded(with_other_phases(plain, 0.3), plain, half_map_fsc=fsc)
    shells = Shells(N, cpu())
    left = power(shells.spectrum(result.density), shells) / power(shells.spectrum(plain), shells)
    assert left[13] > 0.05
    assert np.all(left[14:] < 1e-8)


def test_a_small_region_of_the_wrong_hand_is_not_promised_to_be_found() -> None:
    plain = plain_map()
    altered = plain.copy()
    altered[24:30, 16:22, 16:22] = altered[24:30, 16:22, 16:22][:, :, ::-1]
    result = guarded(altered, plain)
    assert 0.5 < result.facts["correlation"] < 0.999  # told in the record, and bounded
    with pytest.raises(SafeguardError):
        guarded(np.roll(plain[:, :, ::-1], 1, axis=2), plain)


def test_signal_shells_without_an_fsc_stand_above_the_noise() -> None:
    points = np.arange(9) ** 2
    noise, signal = np.full(9, 3.0), np.array([500.0, 90, 40, 9, 3.5, 2, 0.1, 0, 0])
    assert last_signal_shell(None, points * (noise + signal)) == 4
    assert last_signal_shell(None, points[:6] * signal[:6]) == 3  # without noise, nearly all of them
    assert last_signal_shell(None, points * noise) == 2
    low_passed = np.append(points * signal, np.full(6, 1e-16))
    assert last_signal_shell(None, low_passed) == 5  # and not shells of rounding alone
    assert last_signal_shell(np.array([1, 1, 0.6, 0.4, 0.9, 0.0]), np.ones(6)) == 2
    assert last_signal_shell(np.array([1, 0.2, 0.1, 0.1, 0.1, 0.0]), np.ones(6)) == 2
    assert last_signal_shell(np.ones(6), np.ones(6)) == 4


def test_every_promise_in_the_table_has_its_test() -> None:
    told = safeguards.__doc__ or ""
    rows = [line.split("  ")[0] for line in told.split("===\n")[1].splitlines() if line and line[0] != " "]
    tests = {
        "real": test_real,
        "finite": test_finite_as_float32,
        "shape": test_the_same_shape,
        "not empty": test_not_empty,
        "not shifted": test_not_shifted,
        "not turned": test_not_turned,
        "right hand and axes": test_the_right_hand_and_axes,
        "correlated": test_correlated_with_the_half_map,
        "amplitudes": test_amplitudes_without_the_shell_scale,
        "cut off": test_nothing_is_left_beyond_the_cutoff,
    }
    assert [row for row in rows if not row.startswith("=")] == list(tests)
