"""Sets of orientations: how they lie on the sphere, and what is refused."""

from __future__ import annotations

import healpix
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from extrecon.errors import UsageError
from extrecon.simulate import orientations


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def tilts(poses: Rotation) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(poses.as_matrix()[:, 2, 2], -1, 1)))


def test_uniform_orientations_have_no_preference(rng: np.random.Generator) -> None:
    matrices = orientations.uniform(4000, rng).as_matrix()
    # Each entry of a random rotation has mean 0 and variance 1/3.
    assert np.abs(matrices.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 4000)
    assert (matrices**2).mean(axis=0) == pytest.approx(np.full((3, 3), 1 / 3), abs=0.03)


def test_a_healpix_grid_has_its_step_and_its_tilts(rng: np.random.Generator) -> None:
    grid = orientations.healpix_grid(8.0, rng, (0.0, 180.0))
    assert len(grid) == 12 * 8**2  # 7.3°, the coarsest at most 8°
    tilts = np.degrees(np.arccos(grid.as_matrix()[:, 2, 2]))
    expected = np.degrees(healpix.pix2ang(8, np.arange(12 * 64))[0])
    assert np.allclose(np.sort(tilts), np.sort(expected), atol=1e-5)
    part = orientations.healpix_grid(8.0, rng, (0.0, 40.0))
    assert np.degrees(np.arccos(part.as_matrix()[:, 2, 2])).max() <= 40.0
    assert len(part) / len(grid) == pytest.approx((1 - np.cos(np.radians(40))) / 2, rel=0.1)


def test_cones_are_even_over_the_sphere_and_axes_hold_their_tilt(rng: np.random.Generator) -> None:
    heights = orientations.cone(4000, rng, (0.0, 40.0)).as_matrix()[:, 2, 2]
    assert heights.min() >= np.cos(np.radians(40))
    assert heights.mean() == pytest.approx((1 + np.cos(np.radians(40))) / 2, abs=0.005)
    sides = orientations.single_axis(100, rng, 90.0).as_matrix()[:, 2, 2]
    assert np.abs(sides).max() < 1e-9


def test_a_grid_is_the_coarsest_that_is_fine_enough(rng: np.random.Generator) -> None:
    step = orientations.healpix_step_degrees(4)
    assert 12 * 4**2 * np.radians(step) ** 2 == pytest.approx(4 * np.pi)  # equal areas that fill the sphere
    assert len(orientations.healpix_grid(step, rng, (0.0, 180.0))) == 12 * 4**2
    assert len(orientations.healpix_grid(0.999 * step, rng, (0.0, 180.0))) == 12 * 8**2


def test_in_plane_angles_of_a_grid_are_random(rng: np.random.Generator) -> None:
    psi = orientations.healpix_grid(8.0, rng, (1.0, 179.0)).as_euler("ZYZ")[:, 2]
    resultant = np.abs(np.exp(1j * psi).mean())
    assert resultant < 3 / np.sqrt(len(psi))


def test_errors_have_the_size_asked_for_about_every_axis(rng: np.random.Generator) -> None:
    poses = orientations.uniform(4000, rng)
    errors = (poses.inv() * orientations.perturbed(poses, 3.0, rng)).as_rotvec(degrees=True)
    assert errors.std(axis=0) == pytest.approx([3.0] * 3, rel=0.05)
    assert np.abs(errors.mean(axis=0)).max() < 5 * 3.0 / np.sqrt(4000)
    assert np.allclose(orientations.perturbed(poses, 0.0, rng).as_matrix(), poses.as_matrix())


@pytest.mark.parametrize("step", [0.1, 61.0])
def test_a_grid_of_no_use_is_refused(step: float, rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match=rf"from 0\.2 to 60 degrees, not {step:g}"):
        orientations.healpix_grid(step, rng, (0.0, 180.0))


def test_a_grid_without_any_direction_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match=r"No direction of the grid has a tilt from 89\.5 to 89\.6°"):
        orientations.healpix_grid(30.0, rng, (89.5, 89.6))


@pytest.mark.parametrize("tilt_degrees", [(40.0, 0.0), (10.0, 10.0), (-1.0, 40.0), (0.0, 181.0)])
def test_a_cone_of_no_use_is_refused(tilt_degrees: tuple[float, float], rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match="the smaller first"):
        orientations.cone(10, rng, tilt_degrees)
