from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from extrecon.errors import StarError
from extrecon.relion import labels
from extrecon.relion.particles import Optics, ParticleFile, read_particles, write_particles
from extrecon.relion.star import read_star

DECIMALS = 0.5e-4  # angles and shifts are written with four
azimuths, offsets = st.floats(-180, 180), st.floats(-99, 99)
particles = st.lists(st.tuples(azimuths, st.floats(0, 180), azimuths, offsets, offsets), min_size=1, max_size=20)


@pytest.mark.filterwarnings("ignore:Gimbal lock")  # at a tilt of 0 only the sum of rot and psi is known
@given(particles)
def test_poses_and_shifts_are_read_back(told: list[tuple[float, ...]]) -> None:
    angles, shifts = np.split(np.array(told), [3], axis=1)
    poses = Rotation.from_euler("ZYZ", angles, degrees=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "particles.star")
        write_particles(path, Optics(64, 1.5), poses, shifts, "images.mrcs")
        found = read_particles(path)
    assert np.abs(found.shifts_angstrom() - shifts).max() <= DECIMALS * 1.001
    assert np.degrees((found.poses().inv() * poses).magnitude()).max() <= 3 * DECIMALS
    assert found.image_numbers() == list(range(1, len(told) + 1))


def test_the_angles_are_rot_tilt_and_psi(tmp_path: Path) -> None:
    """A tilt turns the viewing direction off z, rot says where to, and psi turns the image alone."""
    write_particles(tmp_path / "p.star", Optics(64, 1.5), Rotation.from_euler("ZYZ", [[30, 60, 0]], degrees=True))
    turned = read_particles(tmp_path / "p.star").poses().as_matrix()[0]
    direction = np.array([np.sin(np.pi / 3) * np.cos(np.pi / 6), np.sin(np.pi / 3) * np.sin(np.pi / 6), 0.5])
    assert turned[:, 2] == pytest.approx(direction, abs=1e-6)
    write_particles(tmp_path / "p.star", Optics(64, 1.5), Rotation.from_euler("ZYZ", [[30, 60, 45]], degrees=True))
    spun = read_particles(tmp_path / "p.star").poses().as_matrix()[0]
    assert spun[:, 2] == pytest.approx(direction, abs=1e-6)
    assert np.degrees(np.arccos(spun[:, 0] @ turned[:, 0])) == pytest.approx(45, abs=1e-3)


def test_what_was_not_given_is_left_out(tmp_path: Path) -> None:
    write_particles(tmp_path / "p.star", Optics(64, 1.5), count=3, stack="images.mrcs")
    found = read_particles(tmp_path / "p.star")
    assert not found.has_poses
    assert not found.has_ctf
    assert found.half_sets() is None
    assert found.image_numbers() == [1, 2, 3]
    with pytest.raises(StarError, match="the loop data_particles has no column _rlnOriginXAngst"):
        found.shifts_angstrom()


def test_further_columns_and_the_optics_stand_there(tmp_path: Path) -> None:
    columns = {labels.HALF_SET: np.array([1.0, 2.0]), labels.DEFOCUS_U: np.array([8000.0, 9000.5])}
    write_particles(tmp_path / "p.star", Optics(64, 1.5, voltage_kv=200), columns=columns)
    file = read_star(tmp_path / "p.star")
    found = ParticleFile(file)
    assert found.has_ctf
    assert not found.has_image_names
    halves = found.half_sets()
    assert halves is not None
    assert list(halves) == [1, 2]
    assert list(file.column("particles", labels.DEFOCUS_U)) == [8000.0, 9000.5]
    assert file.texts("particles", labels.OPTICS_GROUP) == file.texts("optics", labels.OPTICS_GROUP) * 2
    assert file.texts("optics", labels.VOLTAGE) == ["200"]
    assert list(file.column("optics", labels.IMAGE_PIXEL_SIZE)) == [1.5]


def test_shifts_that_relion_30_wrote_never_pass_for_angstrom(tmp_path: Path) -> None:
    """It had no optics groups and shifts in px, whose size follows from detector and magnification."""
    path = tmp_path / "old.star"
    names = ("ImageName", "AngleRot", "AngleTilt", "AnglePsi", "OriginX", "OriginY")
    labels = "".join(f"_rln{name} #{number}\n" for number, name in enumerate(names, 1))
    path.write_text(f"\ndata_images\n\nloop_\n{labels}000001@images.mrcs 10 20 30 1.5 -2\n\n")
    found = read_particles(path)
    assert found.has_poses
    assert found.image_numbers() == [1]
    with pytest.raises(StarError, match="data_images has no column _rlnDetectorPixelSize"):
        found.shifts_angstrom()
    more = "_rlnMagnification #7\n_rlnDetectorPixelSize #8\n"  # 14 µm at 70000 times: 2 Å
    path.write_text(f"\ndata_images\n\nloop_\n{labels}{more}000001@images.mrcs 10 20 30 1.5 -2 70000 14\n\n")
    assert read_particles(path).shifts_angstrom() == pytest.approx(np.array([[3.0, -4.0]]))


def test_an_image_without_a_number_is_refused(tmp_path: Path) -> None:
    write_particles(tmp_path / "p.star", Optics(64, 1.5), count=1, stack="images.mrcs")
    text = (tmp_path / "p.star").read_text().replace("000001@images.mrcs", "image1.mrc")
    (tmp_path / "p.star").write_text(text)
    with pytest.raises(StarError, match=r"_rlnImageName must be NUMBER@STACK, not image1\.mrc"):
        read_particles(tmp_path / "p.star").image_numbers()
