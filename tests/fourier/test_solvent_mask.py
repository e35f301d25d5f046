"""Masks from half-maps: their size follows the particle, not the noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import false_discovery_control, norm

from extrecon.errors import MapError
from extrecon.fourier.masks import particle_mask, soft_sphere
from extrecon.fourier.solvent_mask import Shape, SolventMask, mask_from_halves, mask_from_map, significant_sigmas
from extrecon.maps import HalfMap
from tests.jobs import blobs

BOX, PIXEL = 48, 3.0
DIAMETER = 110.0


def halves(noise: float, seed: int = 0) -> tuple[HalfMap, HalfMap]:
    rng = np.random.default_rng(seed)
    first, second = (
        HalfMap(blobs(BOX) + (noise * rng.normal(size=(BOX,) * 3)).astype(np.float32), PIXEL) for _ in range(2)
    )
    return first, second


def made(noise: float, **shape: float) -> SolventMask:
    return mask_from_halves(*halves(noise), Shape(DIAMETER, **shape))


def overlap(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    return float(2 * np.minimum(first, second).sum() / (first.sum() + second.sum()))


def test_a_mask_holds_the_particle_and_little_else() -> None:
    mask = made(0.05)
    particle = blobs(BOX) > 0.2 * blobs(BOX).max()
    assert mask.density[particle].min() > 0.9
    assert mask.volume_angstrom3 < 0.2 * mask.density.size * PIXEL**3
    assert (mask.density.min(), mask.density.max()) == (0.0, 1.0)
    assert mask.core_volume_angstrom3 < mask.volume_angstrom3


def test_noise_hardly_changes_the_mask() -> None:
    good = made(0.05).density
    for noise in (0.2, 0.4):
        assert overlap(made(noise).density, good) > 0.9
    # One map by itself shrinks with the signal, even if it holds all particles.
    means = {noise: (one.density + two.density) / 2 for noise, (one, two) in ((n, halves(n)) for n in (0.05, 0.4))}
    good, poor = (particle_mask(HalfMap(mean, PIXEL), DIAMETER) for mean in means.values())
    assert overlap(poor, good) < 0.8


def test_what_sets_the_threshold_is_told() -> None:
    assert made(0.02).limited_by == "a tenth of the peak"
    noisy = made(0.4)
    assert noisy.limited_by == "a false discovery rate of 1 %"
    assert noisy.threshold_sigmas < made(0.02).threshold_sigmas


def test_grey_scale_does_not_matter() -> None:
    first, second = halves(0.1)
    one, two = (half.with_density(half.density * 1e-4 + 7e-3) for half in (first, second))
    assert np.abs(mask_from_halves(one, two).density - mask_from_halves(first, second).density).mean() < 1e-3


def test_flattened_solvent_does_not_lower_the_noise() -> None:
    first, second = halves(0.3)
    sphere = soft_sphere(BOX, 0.5 * DIAMETER / PIXEL, 2.0)
    one, two = (half.with_density(half.density * sphere) for half in (first, second))
    whole = mask_from_halves(first, second, Shape(DIAMETER)).density
    assert overlap(mask_from_halves(one, two).density, whole) > 0.85


def test_the_edge_widens_with_the_resolution() -> None:
    assert made(0.02).edge_angstrom >= 4 * PIXEL
    assert made(0.4).edge_angstrom > made(0.02).edge_angstrom
    assert made(0.4).edge_angstrom <= 15.0


def test_extension_and_edge_are_as_asked_for() -> None:
    core = made(0.05).core
    mask = made(0.05, extension_angstrom=6.0, edge_angstrom=9.0).density
    beyond = np.ones_like(core)
    for index in np.argwhere(core):
        window = tuple(slice(max(i - 6, 0), i + 7) for i in index)
        beyond[window] = False
    assert not mask[beyond].any()  # 15 Å are 5 voxels
    assert np.all(mask[core] == 1.0)
    assert mask[np.roll(core, 2, axis=0)].min() == 1.0  # 6 Å are 2 voxels


def test_noise_alone_gives_no_mask() -> None:
    rng = np.random.default_rng(1)
    first, second = (HalfMap(rng.normal(size=(32,) * 3).astype(np.float32), PIXEL) for _ in range(2))
    with pytest.raises(MapError, match="Nothing in the half-maps rises above their noise"):
        mask_from_halves(first, second, Shape(80.0))
    with pytest.raises(MapError, match="do not differ"):
        mask_from_halves(first, first, Shape(80.0))


def test_one_map_gives_the_particle_mask() -> None:
    half_map = halves(0.05)[0]
    mask = mask_from_map(half_map, Shape(DIAMETER, extension_angstrom=4.0))
    assert np.array_equal(mask.density, particle_mask(half_map, DIAMETER))
    assert mask.threshold_sigmas >= 4
    with pytest.raises(MapError, match="Nothing in the map rises"):
        mask_from_map(half_map.with_density(-half_map.density), Shape(DIAMETER))


def test_the_threshold_is_that_of_benjamini_and_yekutieli() -> None:
    sigmas = np.concatenate([np.random.default_rng(2).normal(size=5000), np.full(40, 5.0), np.linspace(3, 6, 60)])
    adjusted = false_discovery_control(norm.sf(sigmas), method="by")
    assert significant_sigmas(sigmas) == pytest.approx(sigmas[adjusted <= 0.01].min())
    assert np.isinf(significant_sigmas(sigmas[:5000]))
