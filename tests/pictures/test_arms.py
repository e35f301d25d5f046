"""Maps of several arms in one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from extrecon.maps import HalfMap
from extrecon.pictures.arms import draw_arms


def ball(box: int, radius: float) -> HalfMap:
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return HalfMap(np.where(z**2 + y**2 + x**2 < radius**2, 1.0, 0.0).astype(np.float32), 3.0)


def shown(path: Path, maps: dict[str, HalfMap]) -> np.ndarray:
    draw_arms(path, maps, "final maps of seed 1")
    return np.asarray(imread(path))


def test_the_grey_scale_of_a_map_does_not_change_its_picture(tmp_path: Path) -> None:
    one = ball(24, 7)
    other = one.with_density(one.density * 250)
    first = shown(tmp_path / "first.png", {"a": one, "b": one})
    second = shown(tmp_path / "second.png", {"a": one, "b": other})
    assert np.array_equal(first, second)


def test_a_map_that_differs_is_seen_to(tmp_path: Path) -> None:
    one = ball(24, 7)
    first = shown(tmp_path / "first.png", {"a": one, "b": one})
    second = shown(tmp_path / "second.png", {"a": one, "b": ball(24, 9)})
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("count", "rows"), [(1, 2), (5, 2), (6, 4), (11, 6)])
def test_many_arms_go_into_further_rows(tmp_path: Path, count: int, rows: int) -> None:
    picture = shown(tmp_path / "arms.png", {f"arm {index}": ball(16, 5) for index in range(count)})
    height, width = picture.shape[:2]
    assert height / rows == pytest.approx(width / min(count, 5), rel=0.12)
