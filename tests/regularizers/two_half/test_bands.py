"""A map taken apart into bands and put together again is itself, and bands keep to their shells and grids."""

from __future__ import annotations

import numpy as np
import pytest

from extrecon.fourier.compute import Array, TorchCompute, cpu
from extrecon.fourier.shells import Shells, power
from extrecon_regularizers.two_half.bands import BandGrid, bands_of, below_bands
from extrecon_regularizers.two_half.local_filter import filtered_with, noise_given
from tests.regularizers.two_half.fields import CPU, white


@pytest.mark.parametrize("box", [8, 15, 32, 33, 64, 100, 256])
def test_the_squares_of_all_bands_add_up_to_one(box: int) -> None:
    total = below_bands(box) + sum(band.table**2 for band in bands_of(box))
    np.testing.assert_allclose(total, 1.0, atol=1e-12)


@pytest.mark.parametrize("box", [15, 32, 33, 64])
def test_without_noise_a_map_stays_as_it_is(box: int) -> None:
    given = white(3, box) + 0.5
    result, told = filtered_with(given, noise_given([0.0] * len(bands_of(box))), 1.0, CPU)
    np.testing.assert_allclose(result, given, atol=1e-5)
    assert [band.mean_weight for band in told] == pytest.approx([1.0] * len(told))


def test_a_band_holds_its_own_shells_alone() -> None:
    shells = Shells(64, CPU)
    band = bands_of(64)[6]
    grid = BandGrid(band, 64, CPU)
    assert band.grid < 64
    total = CPU.zeros_like(shells.spectrum(white(4)), (64, 64, 33))
    grid.add_filtered(white(5, band.grid), total)  # as a product with weights would, it holds all frequencies
    found = power(total, shells)
    inside = np.flatnonzero(found > 1e-9 * found.max())
    assert inside.min() >= band.centre / 1.25 - 1
    assert inside.max() <= band.last + 1


def test_a_coarser_grid_holds_the_same_band() -> None:
    """The grid of a band is the box's, thinned out: at common points, values are the same."""
    box, cosine = 60, np.cos(2 * np.pi * 6 * np.arange(60) / 60)
    density = np.broadcast_to(cosine[:, None, None], (60,) * 3).astype(np.float32)
    band = next(band for band in bands_of(box) if band.centre / 1.2 < 6 < band.centre * 1.2)
    grid = BandGrid(band, box, CPU)
    assert band.grid < box
    found = grid.filtered(CPU.rfftn(density, axes=(0, 1, 2)))[:, 0, 0]
    points = np.arange(band.grid) / band.grid
    np.testing.assert_allclose(found, band.table[36] * np.cos(2 * np.pi * 6 * points), atol=1e-5)


def test_a_cosine_under_the_window_has_half_its_squared_amplitude() -> None:
    grid = BandGrid(bands_of(64)[-1], 64, CPU)
    wave = 3.0 * np.cos(2 * np.pi * 20 * np.arange(64) / 64)
    square = np.broadcast_to(wave, (64,) * 3).astype(np.float32) ** 2
    np.testing.assert_allclose(grid.smoothed(square, 4.0), 4.5, rtol=1e-4)


def test_torch_gives_the_same() -> None:
    noise: Array = noise_given([0.7] * len(bands_of(33)))
    results = [filtered_with(white(6, 33), noise, 1.0, compute)[0] for compute in (cpu(1), TorchCompute("cpu"))]
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)
