from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.fourier.masks import (
    EDGE_PX,
    EXTENSION_ANGSTROM,
    LOW_PASS_ANGSTROM,
    distance_px,
    particle_mask,
    radius_px,
    soft_sphere,
)
from extrecon.maps import HalfMap
from tests.jobs import blobs


def noisy_particle(n: int = 48, noise: float = 0.05) -> tuple[HalfMap, np.ndarray]:
    density = blobs(n)
    rng = np.random.default_rng(0)
    return HalfMap(density + noise * rng.normal(size=density.shape).astype(np.float32), 3.0), density


def test_a_mask_holds_the_particle_and_little_else() -> None:
    half_map, density = noisy_particle()
    mask = particle_mask(half_map)
    particle = density > 0.2 * density.max()
    assert mask[particle].min() > 0.9
    assert (mask > 0.5).sum() < 0.25 * mask.size
    assert mask.min() == 0.0
    assert mask.max() == 1.0


def test_grey_scale_does_not_matter() -> None:
    half_map, _ = noisy_particle()
    scaled = half_map.with_density(half_map.density * 1e-4 + 7.0)
    assert np.abs(particle_mask(half_map) - particle_mask(scaled)).mean() < 1e-3


def test_the_diameter_bounds_the_mask() -> None:
    half_map, _ = noisy_particle()
    mask = particle_mask(half_map, particle_diameter_angstrom=40.0)
    beyond = radius_px(48) * 3.0 > 20.0 + 3 * (4.0 / 3.0 + 4.0) * 3.0
    assert not mask[beyond].any()


def test_pure_noise_gives_a_mask_that_leaves_solvent() -> None:
    noise = np.random.default_rng(1).normal(size=(32, 32, 32)).astype(np.float32)
    mask = particle_mask(HalfMap(noise, 3.0), particle_diameter_angstrom=60.0)
    assert 0 < (mask > 0.5).mean() < 0.6


def test_a_soft_sphere_falls_over_its_edge() -> None:
    sphere = soft_sphere(32, 8.0, 4.0)
    distance = radius_px(32)
    assert np.all(sphere[distance <= 8] == 1)
    assert np.all(sphere[distance >= 12] == 0)
    assert np.allclose(sphere[distance == 10], 0.5)


@pytest.mark.parametrize(("n", "radius", "edge"), [(48, 15.0, 4.0), (49, 9.5, 6.0), (48, 12.0, 1.0)])
def test_the_volume_of_a_soft_sphere(n: int, radius: float, edge: float) -> None:
    """∫ 4π r² (mask) dr, the edge being half a cosine."""
    half = edge / 2
    first = edge**2 * (1 / 4 - 1 / np.pi**2)
    second = edge**3 * (1 / 6 - 1 / np.pi**2)
    expected = 4 * np.pi * (radius**3 / 3 + radius**2 * half + 2 * radius * first + second)
    assert soft_sphere(n, radius, edge).sum(dtype=np.float64) == pytest.approx(expected, rel=5e-3)


def balls(*placed: tuple[float, float], n: int = 64, along: float = 18.0) -> npt.NDArray[np.float32]:
    """Hard balls of a radius, each so many times ``along`` from the middle on x."""
    axis = np.arange(n) - n // 2
    volume = np.zeros((n,) * 3, np.float32)
    for radius, place in placed:
        volume[axis[:, None, None] ** 2 + axis[:, None] ** 2 + (axis - place * along) ** 2 <= radius**2] = 1.0
    return volume


def test_the_mask_of_a_ball_reaches_as_far_as_the_low_pass_and_the_extension_say() -> None:
    """A flat wall under a Gaussian of deviation σ falls to a tenth at 1.28 σ."""
    radius, pixel = 14.0, 3.0
    mask = particle_mask(HalfMap(balls((radius, 0.0)), pixel))
    sigma = LOW_PASS_ANGSTROM * np.sqrt(2 * np.log(2)) / (2 * np.pi) / pixel
    half_way = radius + 1.2816 * sigma + EXTENSION_ANGSTROM / pixel + EDGE_PX / 2
    found = float(((mask > 0.5).sum() / (4 / 3 * np.pi)) ** (1 / 3))
    assert found == pytest.approx(half_way, abs=0.6)


@pytest.mark.parametrize(("small", "is_kept"), [(3.0, False), (6.0, True)])
def test_parts_of_less_than_a_twentieth_are_left_out(small: float, is_kept: bool) -> None:
    mask = particle_mask(HalfMap(balls((12.0, -0.5), (small, 1.0)), 3.0))
    assert mask[32, 32, 32 - 9] == 1.0
    assert mask[32, 32, 32 + 18] == float(is_kept)


def test_a_hollow_particle_is_filled() -> None:
    shell = balls((16.0, 0.0)) - balls((11.0, 0.0))
    assert particle_mask(HalfMap(shell, 1.5))[32, 32, 32] == 1.0


def test_distances_are_those_to_the_nearest_voxel_inside() -> None:
    inside = np.zeros((9, 10, 11), bool)
    where = np.array([(1, 2, 3), (8, 0, 10), (4, 9, 0)])
    inside[tuple(where.T)] = True
    grid = np.stack(np.meshgrid(*map(np.arange, inside.shape), indexing="ij"), axis=-1)
    each = np.linalg.norm(grid[..., None, :] - where, axis=-1)
    assert distance_px(~inside) == pytest.approx(each.min(axis=-1), rel=1e-6)
