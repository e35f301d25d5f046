"""The FSC family: closed forms, and RELION's postprocess."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import soft_sphere
from extrecon.fourier.shells import guinier_profile
from extrecon.maps import read_volume
from extrecon.relion.star import read_star
from extrecon.validate.fsc import (
    corrected_fsc,
    directional_fsc,
    fsc,
    fsc_family,
    randomised_phases,
    real_space_correlation,
    shell_radius,
    spread_directions,
)
from extrecon.validate.wilson import wilson_fit

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo_data"


@pytest.mark.relion
@pytest.mark.usefixtures("relion_programs")
def test_the_family_is_that_of_relions_postprocess(tmp_path: Path) -> None:
    half1, half2, mask = (DEMO / f"{name}.mrc" for name in ("half1", "half2", "mask"))
    command = ["relion_postprocess", "--i", half1, "--i2", half2, "--mask", mask, "--angpix", "5.4", "--o", "post"]
    subprocess.run([str(word) for word in command], cwd=tmp_path, check=False, capture_output=True)
    # It exits with 1 where Ghostscript is missing, after all its results are written.
    star = read_star(tmp_path / "post.star")
    label = "rlnFourierShellCorrelation"
    relion = {
        name: star.column("fsc", key)
        for name, key in {
            "unmasked": f"{label}UnmaskedMaps",
            "masked": f"{label}MaskedMaps",
            "randomised": "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
            "corrected": f"{label}Corrected",
        }.items()
    }
    volumes = [read_volume(path) for path in (half1, half2, mask)]
    family = fsc_family(volumes[0], volumes[1], volumes[2])
    assert family.unmasked[1:] == pytest.approx(relion["unmasked"][1:], abs=1e-5)
    assert family.masked[1:] == pytest.approx(relion["masked"][1:], abs=1e-5)
    assert 32 * 5.4 / family.randomised_from == pytest.approx(star.number("general", "rlnRandomiseFrom"), rel=1e-4)
    ours = corrected_fsc(relion["masked"], relion["randomised"], family.randomised_from)
    assert ours[1:] == pytest.approx(relion["corrected"][1:], abs=1e-5)


@pytest.mark.relion
@pytest.mark.usefixtures("relion_programs")
def test_the_curve_of_random_phases_is_relions_in_the_mean(tmp_path: Path) -> None:
    """Phases are random on both sides, a curve scatters by 0.05: only means can tell. Over 600 runs of RELION they
    differ by 0.0026 at most; here it is 100."""
    names = [DEMO / f"{name}.mrc" for name in ("half1", "half2", "mask")]
    command = ["relion_postprocess", "--i", names[0], "--i2", names[1], "--mask", names[2], "--angpix", "5.4"]
    theirs = []
    for seed in range(100):
        words = [*command, "--o", f"post{seed}", "--random_seed", seed]
        subprocess.run([str(word) for word in words], cwd=tmp_path, check=False, capture_output=True)
        star = read_star(tmp_path / f"post{seed}.star")
        theirs.append(star.column("fsc", "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps"))
    volumes = [read_volume(path) for path in names]
    ours = [fsc_family(volumes[0], volumes[1], volumes[2], seed).randomised for seed in range(400)]
    error = np.hypot(*(np.std(curves, axis=0) / np.sqrt(len(curves)) for curves in (theirs, ours)))
    assert (np.abs(np.mean(theirs, axis=0) - np.mean(ours, axis=0))[1:] < 4 * error[1:] + 1e-4).all()


def test_random_phases_keep_amplitudes_and_lose_correlation() -> None:
    volume = np.random.default_rng(0).standard_normal((32, 32, 32))
    changed = randomised_phases(volume, 6, np.random.default_rng(1))
    before, after = np.fft.rfftn(volume), np.fft.rfftn(changed)
    low = shell_radius(32) < 5.5
    assert np.allclose(before[low], after[low])
    assert np.allclose(
        np.abs(before)[..., 1:-1], np.abs(after)[..., 1:-1]
    )  # Friedel pairs are averaged on the rest
    assert np.abs(fsc(volume, changed)[8:]).max() < 0.15


def test_equal_signal_and_noise_give_the_textbook_fsc() -> None:
    rng = np.random.default_rng(2)
    signal, *noise = rng.standard_normal((3, 48, 48, 48))
    curve = fsc(signal + 0.5 * noise[0], signal + 0.5 * noise[1])
    assert curve[8:].mean() == pytest.approx(1 / 1.25, abs=0.01)


def test_a_missing_direction_shows_in_the_directional_fsc() -> None:
    rng = np.random.default_rng(3)
    signal, noise = rng.standard_normal((2, 32, 32, 32))
    spectrum = np.fft.fftn(signal)
    k = np.fft.fftfreq(32)
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    lost = np.abs(k[:, None, None]) > np.cos(np.radians(20)) * radius - 1e-9
    spectrum[lost] = np.fft.fftn(noise)[lost]
    damaged = np.fft.ifftn(spectrum).real
    along_z, along_x = directional_fsc(signal, damaged, np.array([[0.0, 0, 1], [1, 0, 0]]))
    assert np.abs(along_z[4:]).mean() < 0.2
    assert along_x[np.isfinite(along_x)] == pytest.approx(1.0)


def test_where_a_cone_has_few_points_nothing_is_told() -> None:
    volume = np.random.default_rng(5).standard_normal((32, 32, 32))
    curves = directional_fsc(volume, -volume, spread_directions(20))
    assert np.isnan(curves[:, 1]).all()
    assert curves[:, 8:] == pytest.approx(-1.0)


def test_directions_are_even() -> None:
    directions = spread_directions(200)
    assert np.linalg.norm(directions, axis=1) == pytest.approx(1.0)
    tensor = directions.T @ directions / 200
    assert tensor == pytest.approx(np.eye(3) / 3, abs=0.01)


def test_real_space_correlation_sees_the_mask_alone() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.standard_normal((2, 24, 24, 24))
    mask = soft_sphere(24, 6.0, 2.0)
    inside = np.where(mask > 0, first, second)
    assert real_space_correlation(first, 3 * inside + 2, mask) == pytest.approx(1.0)
    assert real_space_correlation(first, -first, mask) == pytest.approx(-1.0)
    assert abs(real_space_correlation(first, second, np.ones_like(mask))) < 0.05


def test_the_wilson_fit_returns_the_b_factor_put_in() -> None:
    frequency = np.arange(33) / (64 * 1.5)
    fit = wilson_fit(2.0 - 120.0 / 4 * frequency**2, 1.5, 3.0)
    assert fit.b_factor == pytest.approx(120.0)
    assert fit.intercept == pytest.approx(2.0)
    assert fit.correlation == pytest.approx(-1.0)


def test_blurring_adds_to_the_b_factor() -> None:
    noise = np.random.default_rng(5).standard_normal((48, 48, 48))
    sigma_px, pixel = 0.7, 2.0
    blurred = np.fft.ifftn(scipy.ndimage.fourier_gaussian(np.fft.fftn(noise), sigma_px)).real
    fit = wilson_fit(guinier_profile(blurred, cpu(1)), pixel, 4.5)
    assert fit.b_factor == pytest.approx(8 * np.pi**2 * (sigma_px * pixel) ** 2, rel=0.05)
