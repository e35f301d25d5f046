"""Angular and shift errors: zero against themselves, exact for a known turn, blind to symmetry and to drift."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from extrecon.relion.symmetry import symmetry_group
from extrecon.validate.poses import PoseErrors, pose_errors

COUNT = 300


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def true(rng: np.random.Generator) -> Rotation:
    return Rotation.random(COUNT, random_state=rng)


def errors(found: Rotation, true: Rotation, shifts: np.ndarray | None = None, group: str = "C1") -> PoseErrors:
    none = np.zeros((COUNT, 2))
    return pose_errors(found, true, none if shifts is None else shifts, none, symmetry_group(group))


def test_truth_against_itself_is_zero(true: Rotation) -> None:
    found = errors(true, true)
    assert found.angles_degrees.max() < 1e-5
    assert found.shifts_angstrom.max() == 0
    assert found.drift_degrees < 1e-5


def test_a_known_turn_scores_exactly_that(true: Rotation, rng: np.random.Generator) -> None:
    axes = rng.standard_normal((COUNT, 3))
    axes *= np.radians(4.0) / np.linalg.norm(axes, axis=1, keepdims=True)
    found = errors(true * Rotation.from_rotvec(axes), true)
    assert found.angles_degrees == pytest.approx(4.0)


@pytest.mark.parametrize("group", ["C4", "D3", "T", "O", "I"])
def test_symmetry_mates_are_the_same_pose(true: Rotation, rng: np.random.Generator, group: str) -> None:
    members = symmetry_group(group)
    mates = members[rng.integers(len(members), size=COUNT)] * true
    turn = Rotation.from_rotvec(np.radians([0.0, 0.0, 1.5]))
    found = errors(mates * turn, true, group=group)
    assert found.angles_degrees == pytest.approx(1.5)
    assert errors(mates, true).angles_degrees.max() > 30


def test_a_drift_of_the_whole_is_told_and_taken_away(true: Rotation, rng: np.random.Generator) -> None:
    drift = Rotation.from_rotvec(np.radians([1.0, -2.0, 2.0]))
    moved = np.array([1.0, 2.0, -3.0])
    found_poses = drift * true
    # A map that lies at +t has its particle at the first two coordinates of R⁻¹ t, and the origin is minus that.
    shifts = -found_poses.inv().apply(moved)[:, :2]
    found = errors(found_poses, true, shifts)
    assert found.drift_degrees == pytest.approx(3.0)
    assert found.angles_degrees == pytest.approx(3.0)
    assert found.aligned_angles_degrees.max() < 1e-5
    assert found.drift_angstrom == pytest.approx(moved)
    assert found.aligned_shifts_angstrom.max() < 1e-9
    assert found.shifts_angstrom.max() > 3.0


def test_a_few_lost_particles_do_not_turn_the_whole(true: Rotation, rng: np.random.Generator) -> None:
    small = Rotation.from_rotvec(np.radians(rng.normal(0, 0.5, (COUNT, 3))))
    found = Rotation.concatenate([Rotation.random(20, random_state=rng), (true * small)[20:]])
    left = errors(found, true).aligned_angles_degrees
    assert np.median(left[20:]) < 1.0
    assert errors(found, true).drift_degrees < 0.2
