"""How much of a map repeats one number, where it is known beforehand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.fourier.masks import radius_px
from extrecon.maps.solvent import MOST_CONSTANT, constant_share, inscribed_sphere, masked_map_sentence

N = 40
EVERYWHERE = np.ones((N,) * 3, np.bool_)


def noise_with(share: float, level: float = 0.0) -> npt.NDArray[np.float32]:
    """White noise of deviation 1, of which every so many voxels hold one number."""
    rng = np.random.default_rng(1)
    density = rng.standard_normal((N,) * 3, dtype=np.float32)
    return np.where(rng.random(density.shape) < share, np.float32(level), density)


@pytest.mark.parametrize("n", [31, 64])
def test_the_inscribed_sphere_is_a_ball_about_the_middle_voxel(n: int) -> None:
    sphere = inscribed_sphere(n)
    assert np.array_equal(sphere, radius_px(n) < n // 2)
    assert sphere.sum() == pytest.approx(4 / 3 * np.pi * (n // 2) ** 3, rel=0.02)


@pytest.mark.parametrize("level", [0.0, 0.3, -2.0])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_share_of_a_background_is_found_whatever_its_level_and_scale(level: float, scale: float) -> None:
    density = noise_with(0.4, level)
    density[0, 0, 0] = level  # the corner tells what the background is
    assert constant_share(density * np.float32(scale), EVERYWHERE) == pytest.approx(0.4, abs=0.01)


def test_noise_repeats_no_more_than_its_density_at_the_level() -> None:
    """Within ± 0.003 deviations of the mean lie 0.006 / √(2π) of all normal numbers."""
    assert constant_share(noise_with(0.0), EVERYWHERE) == pytest.approx(0.006 / np.sqrt(2 * np.pi), abs=8e-4)


def test_only_the_voxels_asked_for_count() -> None:
    density = noise_with(0.0)
    density[: N // 2] = 0.0
    upper = np.zeros_like(EVERYWHERE)
    upper[N // 2 :] = True
    assert constant_share(density, upper) < 0.01
    assert constant_share(density, ~upper) == 1.0
    assert constant_share(density, np.zeros_like(EVERYWHERE)) == 0.0


def test_a_map_is_told_to_be_masked_from_a_quarter_on() -> None:
    assert masked_map_sentence(noise_with(MOST_CONSTANT - 0.03), EVERYWHERE) == ""
    told = masked_map_sentence(noise_with(MOST_CONSTANT + 0.15), EVERYWHERE)
    assert told.startswith("The map was masked: 40% of the voxels")
