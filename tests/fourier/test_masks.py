from __future__ import annotations

import numpy as np

from extrecon.fourier.masks import particle_mask, radius_px, soft_sphere
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
