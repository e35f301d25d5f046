"""Particle images: found, read a few at a time, and refused where no projection here can show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from extrecon.errors import InputError, MapError, StarError
from extrecon.relion.images import read_images
from extrecon.relion.particles import Optics, write_particles
from extrecon.simulate.stack import write_stack

BOX, PIXEL, COUNT = 16, 3.0, 5


@pytest.fixture
def star(tmp_path: Path) -> Path:
    """Write images whose values are their numbers, in a project folder, their STAR file in a job of it."""
    job = tmp_path / "Extract" / "job001"
    job.mkdir(parents=True)
    values = np.arange(1, COUNT + 1)[:, None, None] * np.ones((1, BOX, BOX))
    write_stack(tmp_path / "particles.mrcs", values, PIXEL)
    rng = np.random.default_rng(1)
    defocus = np.linspace(9000, 12000, COUNT)
    lens = {"rlnDefocusU": defocus, "rlnDefocusV": defocus - 300, "rlnDefocusAngle": 10 + np.arange(COUNT)}
    poses = Rotation.random(COUNT, random_state=rng)
    shifts = rng.normal(0, 2, (COUNT, 2))
    path = job / "particles.star"
    more = {"rlnPhaseShift": np.full(COUNT, 90.0), "rlnCtfBfactor": np.full(COUNT, 20.0)}
    write_particles(path, Optics(BOX, PIXEL, 200.0, 1.4, 0.07), poses, shifts, "particles.mrcs", lens | more)
    return path


def test_images_and_lens_are_read(star: Path) -> None:
    images = read_images(star)
    assert (len(images), images.box, images.pixel_size_angstrom) == (COUNT, BOX, PIXEL)
    assert images.read([4, 0])[:, 3, 3].tolist() == [5.0, 1.0]
    lens = images.lens
    assert lens is not None
    assert lens.defoci[:, 1] == pytest.approx([9750, 9450, 11])
    assert lens.phase_shifts_degrees.tolist() == [90.0] * COUNT
    assert lens.b_factors.tolist() == [20.0] * COUNT
    assert lens.scales.tolist() == [1.0] * COUNT
    assert (lens.voltages_kv[0], lens.spherical_aberrations_mm[0], lens.amplitude_contrasts[0]) == (200, 1.4, 0.07)


def test_poses_are_taken_by_image_name(star: Path, tmp_path: Path) -> None:
    lines = star.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if "@" in line)
    rows = lines[first : first + COUNT]
    other = tmp_path / "found.star"
    other.write_text("\n".join([*lines[:first], *rows[::-1]]) + "\n")
    own, found = read_images(star), read_images(star, other)
    assert found.names == own.names
    assert (own.poses.inv() * found.poses).magnitude() == pytest.approx(0, abs=1e-6)
    assert found.shifts_angstrom == pytest.approx(own.shifts_angstrom)
    other.write_text("\n".join([*lines[:first], *rows[1:]]) + "\n")
    with pytest.raises(InputError, match=r"no pose for the image 000001@particles\.mrcs"):
        read_images(star, other)


@pytest.mark.parametrize(
    ("old", "new", "error", "sentence"),
    [
        ("000005@", "000009@", MapError, "holds 5 images, but .* names number 9"),
        ("000005@", "first@", StarError, "must be NUMBER@STACK, not first@particles"),
        ("@particles.mrcs", "@gone.mrcs", InputError, "its stack gone.mrcs is neither beside it"),
        ("_rlnImageSize", "_rlnBeamTiltX", InputError, "_rlnBeamTiltX, which cannot be scored"),
        ("_rlnVoltage", "_rlnMagMat00", InputError, "magnification matrix"),
        ("_rlnSphericalAberration", "_rlnCtfDataAreCtfPremultiplied", InputError, "CtfPremultiplied, which cannot"),
        ("simulated 1", "simulated 7", StarError, "there is no optics group 1"),
        (f" {BOX} 2", " 24 2", MapError, "images of 24×24 px were expected"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    star: Path, old: str, new: str, error: type[Exception], sentence: str
) -> None:
    text = star.read_text()
    assert old in text
    star.write_text(text.replace(old, new))
    with pytest.raises(error, match=sentence):
        read_images(star).read(range(COUNT))


def test_damaged_stacks_and_values_are_refused(star: Path, tmp_path: Path) -> None:
    stack = np.memmap(tmp_path / "particles.mrcs", "<f4", "r+", offset=1024, shape=(COUNT, BOX, BOX))
    stack[3, 2, 2] = np.nan
    stack.flush()
    images = read_images(star)
    assert images.read([0, 1]).shape == (2, BOX, BOX)
    with pytest.raises(MapError, match="values that are not finite"):
        images.read([3])
    (tmp_path / "particles.mrcs").write_bytes(b"no stack")
    with pytest.raises(MapError, match="not a readable MRC stack"):
        images.read([0])
