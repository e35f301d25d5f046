from __future__ import annotations

import numpy as np
import pytest

from extrecon.errors import MapError
from extrecon.maps import HalfMap
from extrecon.maps.agreement import check_halves, same_content
from extrecon.maps.solvent import constant_share, inscribed_sphere
from tests.jobs import blobs

NAMES = ("one.mrc", "two.mrc")


def noise(seed: int) -> np.ndarray:
    values: np.ndarray = np.random.default_rng(seed).normal(size=(24,) * 3).astype(np.float32)
    return values


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (3e-4, 0), (2, 100), (1, -7)])
def test_a_map_on_another_scale_is_the_same_map(scale: float, offset: float) -> None:
    whole = blobs(24) + 0.1 * noise(1)
    assert same_content(whole, scale * whole + offset)
    assert same_content(whole, whole.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("noise_level", [1e-3, 0.1, 10.0])
def test_halves_of_little_noise_are_two_maps(noise_level: float) -> None:
    first, second = (blobs(24) + noise_level * noise(seed) for seed in (1, 2))
    assert not same_content(first, second)
    assert check_halves(HalfMap(first, 2.0), HalfMap(second, 2.0), NAMES) == ()


def test_two_empty_maps_are_the_same() -> None:
    empty = np.zeros((8,) * 3, np.float32)
    assert same_content(empty, empty.copy())
    assert not same_content(empty, empty + 1)
    assert not same_content(empty, noise(1)[:8, :8, :8])


def test_halves_must_share_box_and_pixel_size() -> None:
    first = HalfMap(noise(1), 2.0)
    with pytest.raises(MapError, match=r"one\.mrc is 24³ voxels, but two\.mrc is 20³"):
        check_halves(first, HalfMap(noise(2)[:20, :20, :20], 2.0), NAMES)
    with pytest.raises(MapError, match=r"one\.mrc has 2 Å/px, but two\.mrc has 2\.1 Å/px"):
        check_halves(first, HalfMap(noise(2), 2.1), NAMES)
    (told,) = check_halves(first, HalfMap(noise(2), 2.005), NAMES)
    assert "one.mrc has 2 Å/px, but two.mrc has 2.005 Å/px" in told


@pytest.mark.parametrize("level", [0.0, 5.0, -0.3])
def test_the_share_of_constant_voxels_is_counted(level: float) -> None:
    values = noise(1)
    where = inscribed_sphere(24)
    assert constant_share(values, where) < 0.01
    values[:12] = level
    expected = float(np.mean(np.nonzero(where)[0] < 12))
    assert constant_share(values, where) == pytest.approx(expected, abs=0.01)
    assert constant_share(values, np.zeros_like(where)) == 0.0
