"""Projections against RELION's own program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from extrecon.maps import read_volume
from extrecon.relion.particles import Optics, write_particles
from extrecon.simulate.projection import contrast_transfer, project, shift_and_blur

TRUTH = Path(__file__).resolve().parents[2] / "scripts" / "demo_data" / "truth.mrc"
PIXEL_SIZE = 5.4
COUNT = 100


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    a, b = (images.reshape(len(images), -1).astype(np.float64) for images in (first, second))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    found: np.ndarray = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return found


@pytest.mark.relion
@pytest.mark.usefixtures("relion_programs")
def test_projections_and_ctf_are_relions(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    poses = Rotation.random(COUNT, random_state=rng)
    shifts = rng.normal(0, 0.5 * PIXEL_SIZE, (COUNT, 2))
    defocus_u = rng.uniform(8000, 15000, COUNT)
    defoci = np.stack([defocus_u, defocus_u - rng.uniform(0, 2000, COUNT), rng.uniform(0, 180, COUNT)])
    lens = dict(zip(("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"), defoci, strict=True))
    write_particles(tmp_path / "poses.star", Optics(32, PIXEL_SIZE), poses, shifts, columns=lens)
    relion = []
    for name, more in (("plain", []), ("lens", ["--ctf"])):
        command = ["relion_project", "--i", str(TRUTH), "--ang", "poses.star", "--o", name, *more]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        relion.append(read_volume(tmp_path / f"{name}.mrcs"))
    ours = shift_and_blur(project(read_volume(TRUTH), poses), shifts, PIXEL_SIZE)
    assert correlations(ours, relion[0]).min() > 0.999
    assert np.sqrt((ours**2).mean() / (relion[0] ** 2).mean()) == pytest.approx(1, abs=0.02)
    # The CTF by itself: two interpolations of a map differ most at high frequencies, which it weighs up.
    ctf = contrast_transfer(defoci, 32, PIXEL_SIZE, 300, 2.7, 0.1)
    blurred = shift_and_blur(relion[0].astype(np.float64), np.zeros((COUNT, 2)), PIXEL_SIZE, ctf)
    assert correlations(blurred, relion[1]).min() > 0.9999


def test_a_projection_along_z_is_the_sum_over_z() -> None:
    truth = read_volume(TRUTH)
    image = project(truth, Rotation.identity())[0]
    assert correlations(image[None], truth.sum(axis=0)[None])[0] > 0.999


def test_a_particle_lies_at_minus_its_origin() -> None:
    image = np.zeros((1, 32, 32))
    image[0, 16, 16] = 1.0
    moved = shift_and_blur(image, np.array([[3 * PIXEL_SIZE, -5 * PIXEL_SIZE]]), PIXEL_SIZE)
    assert moved[0, 16 + 5, 16 - 3] == pytest.approx(1.0)
