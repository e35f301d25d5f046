"""Held-out likelihoods against closed forms: noise alone, the map in noise, other grey scales, noisier maps."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from extrecon.errors import InputError, MapError, StarError, UsageError
from extrecon.maps.mrc import read_volume
from extrecon.relion.images import ParticleImages, read_images
from extrecon.relion.particles import Optics, write_particles
from extrecon.simulate.noise import gaussian_noise
from extrecon.simulate.stack import write_stack
from extrecon.validate.held_out import (
    HeldOutScore,
    centred,
    circle,
    noise_of_model,
    noise_outside,
    projected,
    score_held_out,
)

TRUTH = Path(__file__).resolve().parents[2] / "scripts" / "demo_data" / "truth.mrc"
BOX, PIXEL, COUNT, DIAMETER = 32, 5.4, 200, 130.0
NYQUIST = 2 * PIXEL
WHITE = np.full(BOX // 2 + 1, BOX**2 / 2)
"""σ² of noise of standard deviation 1: half of the power of its transform's points."""


def experiment(
    folder: Path, signal: float, *, noise: float = 1.0, correlation_px: float = 0.0
) -> tuple[np.ndarray, ParticleImages]:
    """Return a map, and images of it in noise, with shifts and CTF."""
    rng = np.random.default_rng(1)
    volume = read_volume(TRUTH).astype(np.float64)
    poses = Rotation.random(COUNT, random_state=rng)
    shifts = rng.normal(0, PIXEL, (COUNT, 2))
    defocus = rng.uniform(8000, 15000, COUNT)
    lens = {"rlnDefocusU": defocus, "rlnDefocusV": defocus - 500, "rlnDefocusAngle": rng.uniform(0, 180, COUNT)}
    write_particles(folder / "particles.star", Optics(BOX, PIXEL), poses, shifts, "particles.mrcs", lens)
    write_stack(folder / "particles.mrcs", np.zeros((COUNT, BOX, BOX)), PIXEL)
    images = read_images(folder / "particles.star")
    clean = projected(volume, images, np.arange(COUNT))
    strength = signal / np.fft.irfft2(clean, s=(BOX, BOX)).std()
    along_x, along_y = (shifts[:, axis, None, None] / PIXEL for axis in (0, 1))
    turns = np.fft.fftfreq(BOX)[:, None] * along_y + np.fft.rfftfreq(BOX) * along_x
    shown = np.fft.irfft2(clean * strength * np.exp(2j * np.pi * turns), s=(BOX, BOX))
    write_stack(folder / "particles.mrcs", shown + noise * gaussian_noise(shown.shape, rng, correlation_px), PIXEL)
    return volume * strength, images


def score(volume: np.ndarray, images: ParticleImages, scale: float | None = 1.0) -> HeldOutScore:
    return score_held_out(volume, images, WHITE, DIAMETER, NYQUIST, grey_scale=scale)


def test_images_of_noise_alone_lose_half_of_the_maps_power(tmp_path: Path) -> None:
    volume, _ = experiment(tmp_path, 0.5)
    _, noise = experiment(tmp_path, 0.0)
    found = score(volume, noise)
    expected = -0.5 * found.power.sum(axis=1)
    assert found.nats.mean() == pytest.approx(expected.mean(), abs=5 * found.standard_error)
    assert found.nats.mean() < -10 * found.standard_error
    # The scatter is that of Σ x a, x of variance 1.
    assert (found.nats - expected).std() == pytest.approx(np.sqrt(found.power.sum(axis=1).mean()), rel=0.2)


def test_images_of_the_map_gain_half_of_its_power(tmp_path: Path) -> None:
    volume, images = experiment(tmp_path, 0.5)
    found = score(volume, images)
    expected = 0.5 * found.power.sum(axis=1)
    assert found.nats.mean() == pytest.approx(expected.mean(), abs=5 * (found.nats - expected).std() / COUNT**0.5)
    assert score(volume, images, scale=None).grey_scale == pytest.approx(1.0, abs=0.03)


def test_the_ratio_is_that_of_the_transforms_where_nothing_is_cut(tmp_path: Path) -> None:
    volume, images = experiment(tmp_path, 0.5)
    rows = np.arange(5)
    found = score_held_out(volume, images, WHITE, 1000.0, NYQUIST, grey_scale=1.0)
    x, a = centred(images, rows), projected(volume, images, rows)
    radius = np.sqrt(np.fft.fftfreq(BOX, 1 / BOX)[:, None] ** 2 + np.arange(BOX // 2 + 1) ** 2)
    shell = np.floor(radius + 0.5)
    weight = np.where((shell >= 1) & (shell <= BOX // 2), 1.0, 0.0)
    weight[:, [0, -1]] *= 0.5  # both points of a Friedel pair stand in these columns
    ratio = ((2 * (x.conj() * a).real - np.abs(a) ** 2) * weight / (2 * WHITE[0])).sum(axis=(1, 2))
    assert found.nats[rows] == pytest.approx(ratio, rel=1e-6)


def test_the_correlation_is_what_the_signal_to_noise_ratio_says(tmp_path: Path) -> None:
    volume, images = experiment(tmp_path, 1.0)
    found = score(volume, images)
    signal = found.power.sum(axis=0)[: BOX // 2 + 1]
    noise = COUNT * circle(BOX, DIAMETER / PIXEL).sum()
    points = np.bincount(np.floor(np.hypot(*np.mgrid[-16:16, -16:16]) + 0.5).astype(int).ravel())[: BOX // 2 + 1]
    ratio = signal / (noise * points / BOX**2)
    expected = np.sqrt(ratio / (1 + ratio))
    assert found.frc[2:-1] == pytest.approx(expected[2:-1], abs=0.03)
    assert found.mean_frc == pytest.approx(found.frc[1:].mean())
    _, other = experiment(tmp_path, 0.0)
    assert abs(score(volume, other).mean_frc) < 0.02


def test_a_fitted_grey_scale_undoes_any_other(tmp_path: Path) -> None:
    volume, images = experiment(tmp_path, 0.5)
    plain, scaled = score(volume, images, None), score(7 * volume, images, None)
    assert scaled.grey_scale == pytest.approx(plain.grey_scale / 7)
    assert scaled.nats == pytest.approx(plain.nats)
    inverted = score(-volume, images, None)
    assert inverted.grey_scale == 0
    assert inverted.nats_per_particle == 0
    _, clear = experiment(tmp_path, 0.5, noise=1e-6)
    assert score(volume / 3, clear, None).grey_scale == pytest.approx(3.0, rel=1e-3)


def test_a_noisier_map_scores_less_by_half_of_its_noises_power(tmp_path: Path) -> None:
    volume, images = experiment(tmp_path, 0.5)
    noise = np.random.default_rng(2).standard_normal(volume.shape) * 0.3 * volume.std()
    plain, noisy, alone = score(volume, images), score(volume + noise, images), score(noise, images)
    lost = plain.nats - noisy.nats
    expected = 0.5 * alone.power.sum(axis=1)
    # The cross terms of noise and image have mean 0.
    assert lost.mean() == pytest.approx(expected.mean(), abs=5 * (lost - expected).std() / COUNT**0.5)
    assert noisy.nats_at_best_filter < plain.nats_at_best_filter
    assert noisy.mean_frc < plain.mean_frc


def test_the_best_filter_does_not_see_how_a_map_was_filtered(tmp_path: Path) -> None:
    volume, images = experiment(tmp_path, 0.5)
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*[np.fft.fftfreq(BOX)] * 3, indexing="ij")))
    sharpened = np.fft.ifftn(np.fft.fftn(volume) * np.exp(6 * radius)).real
    plain, other = score(volume, images, None), score(sharpened, images, None)
    assert other.nats_per_particle < plain.nats_per_particle
    assert other.nats_at_best_filter == pytest.approx(plain.nats_at_best_filter, rel=0.03)
    assert plain.nats_at_best_filter >= plain.nats_per_particle


@pytest.mark.parametrize("correlation_px", [0.0, 1.5])
def test_noise_is_told_from_outside_the_circle(tmp_path: Path, correlation_px: float) -> None:
    _, images = experiment(tmp_path, 0.3, correlation_px=correlation_px)
    found = noise_outside(images, 110.0)
    squared = (np.arange(1, BOX // 2 + 1) / BOX) ** 2
    shape = 1 / (1 + (2 * np.pi * correlation_px) ** 2 * squared)
    plane = np.fft.fftfreq(BOX)[:, None] ** 2 + np.fft.fftfreq(BOX) ** 2
    expected = 0.5 * BOX**2 * shape / (1 / (1 + (2 * np.pi * correlation_px) ** 2 * plane)).mean()
    assert found[3:] == pytest.approx(expected[2:], rel=0.08)
    with pytest.raises(UsageError, match=r"A circle of 240 Å leaves .* % of the image"):
        noise_outside(images, 240.0)


def test_the_noise_of_a_model_file_is_brought_to_undivided_transforms(tmp_path: Path) -> None:
    rows = "\n".join(f"{shell} {0.5 / BOX**2:.9f}" for shell in range(BOX // 2 + 1))
    loop = f"loop_\n_rlnSpectralIndex #1\n_rlnSigma2Noise #2\n{rows}\n"
    (tmp_path / "run_model.star").write_text(
        f"data_model_general\n\n_rlnOriginalImageSize {BOX}\n\ndata_model_group_1\n\n{loop}\n"
    )
    assert noise_of_model(tmp_path / "run_model.star", BOX) == pytest.approx(WHITE, rel=1e-4)
    with pytest.raises(InputError, match="tells the noise of 17 shells; images of 64 px have 33"):
        noise_of_model(tmp_path / "run_model.star", 64)
    (tmp_path / "other.star").write_text("data_model_general\n\n_rlnOriginalImageSize 32\n")
    with pytest.raises(StarError, match="rlnSigma2Noise; is it a"):
        noise_of_model(tmp_path / "other.star", BOX)


@pytest.mark.relion
@pytest.mark.usefixtures("relion_programs")
def test_projections_of_the_star_file_are_relions(tmp_path: Path) -> None:
    _, images = experiment(tmp_path, 0.5)
    words = ["relion_project", "--i", str(TRUTH), "--ang", "particles.star", "--o", "theirs", "--ctf"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    rows = np.arange(COUNT)
    theirs = replace(images, names=[(number, tmp_path / "theirs.mrcs") for number, _ in images.names])
    x, a = centred(theirs, rows), projected(read_volume(TRUTH), images, rows)
    x, a = x[:, :, 1:], a[:, :, 1:]
    assert np.sqrt((np.abs(x - a) ** 2).sum() / (np.abs(x) ** 2).sum()) < 0.05
    assert (x * a.conj()).real.sum() / (np.abs(a) ** 2).sum() == pytest.approx(1, abs=0.01)


def test_nonsense_is_refused(tmp_path: Path) -> None:
    volume, images = experiment(tmp_path, 0.5)
    with pytest.raises(MapError, match="are 32 px, but the map is 24³"):
        score(volume[:24, :24, :24], images)
    with pytest.raises(UsageError, match="The noise has 5 shells, but images of 32 px have 17"):
        score_held_out(volume, images, WHITE[:5], DIAMETER, NYQUIST)
    with pytest.raises(UsageError, match="must be above 0 in every shell"):
        score_held_out(volume, images, 0 * WHITE, DIAMETER, NYQUIST)
    with pytest.raises(UsageError, match="leaves no shell"):
        score_held_out(volume, images, WHITE, DIAMETER, 500.0)
    with pytest.raises(UsageError, match="diameter must be above 0, not -4"):
        score_held_out(volume, images, WHITE, -4 * PIXEL, NYQUIST)
