"""Slices: enlarged without a change, and as PNG files that hold them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from extrecon.pictures.slices import central_slices, enlarged, grey_limits, grey_png


def test_slices_pass_through_the_origin_across_each_axis() -> None:
    density = np.zeros((8, 8, 8))
    density[4, 1, 2] = 1.0
    density[0, 4, 3] = 2.0
    density[5, 6, 4] = 3.0
    z, y, x = central_slices(density)
    assert (z[1, 2], y[0, 3], x[5, 6]) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("n", [8, 9, 24])
def test_enlarging_keeps_every_value_in_its_place(n: int) -> None:
    plane = np.random.default_rng(n).normal(size=(n, n))
    fine = enlarged(plane, 100)
    factor = len(fine) // n
    assert fine.shape == (factor * n, factor * n)
    assert factor >= 5
    assert fine[::factor, ::factor] == pytest.approx(plane, abs=1e-12)


@pytest.mark.parametrize("n", [16, 17])
def test_a_wave_is_exact_between_the_voxels(n: int) -> None:
    def wave(points: int) -> np.ndarray:
        at = np.arange(points) * n / points
        return np.cos(2 * np.pi * 3 * at / n)[:, None] * np.sin(2 * np.pi * 2 * at / n)[None, :]

    fine = enlarged(wave(n), 4 * n)
    assert fine == pytest.approx(wave(4 * n), abs=1e-12)


def test_a_large_slice_is_left_alone() -> None:
    plane = np.ones((400, 400), np.float32)
    assert enlarged(plane).shape == (400, 400)


def test_a_png_holds_the_slice_upside_down() -> None:
    plane = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 9.0]])
    image = imread(io.BytesIO(grey_png(plane, (0.0, 4.0))))
    assert image == pytest.approx(np.array([[0.75, 1.0, 1.0], [0.0, 0.25, 0.5]]), abs=0.5 / 255 + 1e-6)


def test_an_empty_map_has_limits() -> None:
    black, white = grey_limits([np.zeros((4, 4), np.float32)])
    assert white > black
    grey_png(np.zeros((4, 4)), (black, white))
