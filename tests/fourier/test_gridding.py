from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import i0

from extrecon.fourier import gridding
from extrecon.fourier.compute import cpu
from extrecon.fourier.grids import crop_around_origin, full_axis, round_half_up, window_full_axis


@pytest.mark.parametrize("position", [0.0, 0.05, 0.2, 0.35, 0.5])
def test_the_footprint_is_the_blobs_transform(position: float) -> None:
    """Integrate the Kaiser-Bessel blob I₀(α√(1−(r/a)²)) against the spherical wave sin(2πxr)/(2πxr)."""
    radius, alpha = gridding.BLOB_RADIUS, gridding.BLOB_ALPHA

    def transform(x: float) -> float:
        value, _ = quad(
            lambda r: i0(alpha * np.sqrt(max(0.0, 1 - (r / radius) ** 2))) * np.sinc(2 * x * r) * r**2, 0, radius
        )
        return float(value)

    expected = transform(position) / transform(0.0)
    assert gridding.kaiser_bessel_footprint(np.array([position]))[0] == pytest.approx(expected, rel=1e-6)


def test_evened_weights_are_even_under_the_blob() -> None:
    size = 41
    k = full_axis(size)
    squares = k[:, None, None] ** 2 + k[None, :, None] ** 2 + np.arange(size // 2 + 1) ** 2
    weight = np.where(squares < 19**2, 1.0 + 50.0 * np.exp(-squares / 40.0), 0.0)
    evened = gridding.even_out(weight.copy(), 40.0, cpu(), iterations=30)
    footprint = gridding._Footprint(size, 3, 40.0, cpu())
    sums = gridding._convolution_modulus(evened.astype(np.float64), footprint, cpu(), with_odd=False)
    inner = squares < 14**2
    assert np.abs(sums[inner] - 1).max() < 0.05
    once = gridding._convolution_modulus(weight, footprint, cpu(), with_odd=False)
    assert np.ptp(once[inner]) > 5


@pytest.mark.parametrize("largest", [1e2, 1e4, 1e6])
def test_small_weights_beside_large_ones_are_evened_as_by_the_whole_complex_convolution(largest: float) -> None:
    """As of a class with few images: the MAP term outweighs the data in fine shells by orders."""
    size, period = 63, 64.0
    k = full_axis(size)
    squares = k[:, None] ** 2 + np.arange(size // 2 + 1) ** 2
    weight = np.where(squares < 30**2, largest ** (np.sqrt(squares) / 30), 0.0)
    evened = gridding.even_out(weight.copy(), period, cpu())
    number = np.where(np.arange(size) < size // 2, np.arange(size), np.arange(size) - size)  # as RELION counts
    entry = np.floor(np.hypot(number[:, None], number) / period * gridding.TABLE_LENGTH / gridding.TABLE_END)
    tabulated = gridding.kaiser_bessel_footprint(np.minimum(entry / gridding.TABLE_LENGTH, 1) * gridding.TABLE_END)
    blob = np.where(entry < gridding.TABLE_LENGTH, tabulated, 0.0)
    whole = np.where(k[:, None] ** 2 + k**2 < 30**2, largest ** (np.hypot(k[:, None], k) / 30), 0.0)
    for _ in range(gridding.ITERATIONS):
        whole /= np.maximum(np.abs(np.fft.fftn(np.fft.ifftn(whole) * blob)), 1e-6)
    inside = squares < 30**2
    assert evened[inside] == pytest.approx(whole[:, : size // 2 + 1][inside], rel=1e-5)


def test_halves_round_upwards() -> None:
    assert [round_half_up(v) for v in (0.5, 1.5, 2.4999, -0.5)] == [1, 2, 2, 0]


def test_a_window_keeps_each_frequency_where_it_belongs() -> None:
    for size, radius, length in ((10, 4, 15), (15, 4, 9), (9, 3, 8)):
        kept = window_full_axis(full_axis(size).astype(float), 0, radius, length, cpu(1))
        expected = np.where(np.abs(full_axis(length)) < radius, full_axis(length), 0)
        assert np.array_equal(kept, expected)


def test_a_crop_puts_the_origin_in_the_middle() -> None:
    for size, length in ((10, 4), (10, 5), (12, 12)):
        cropped = crop_around_origin(full_axis(size), 0, length, cpu(1))
        assert cropped[length // 2] == 0
        assert np.array_equal(np.diff(cropped[: length // 2 + 1]), np.ones(length // 2))
