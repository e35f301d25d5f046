from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.integrate import quad
from scipy.special import i0

from extrecon.fourier import gridding
from extrecon.fourier.compute import cpu
from extrecon.fourier.grids import (
    crop_around_origin,
    full_axis,
    round_half_up,
    squared_radius,
    window_full_axis,
)


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


def some_weight(size: int, reach: int) -> npt.NDArray[np.float64]:
    """Return half-stored weights that fall steeply, symmetric through the origin, 0 at and beyond a radius."""
    squares = squared_radius([full_axis(size), full_axis(size), np.arange(size // 2 + 1)])
    return np.where(squares < reach**2, 1.0 + 50.0 * np.exp(-squares / 40.0), 0.0)


def convolution_modulus(half_stored: npt.NDArray[np.float64], period: float) -> npt.NDArray[np.float64]:
    """Return |array ∗ blob| by whole complex transforms, in RELION's numbering: size // 2 is negative."""
    size, half = half_stored.shape[1], half_stored.shape[2]
    whole = np.empty((*half_stored.shape[:2], size))
    whole[..., :half] = half_stored
    whole[..., half:] = np.roll(np.flip(half_stored[..., 1:], axis=(0, 1, 2)), 1, axis=(0, 1))
    index = np.arange(size)
    number = np.where(index < size // 2, index, index - size)
    distance = np.sqrt(squared_radius([number] * 3).astype(float)) / period
    steps = np.floor(distance / (gridding.TABLE_END / gridding.TABLE_LENGTH))
    blob = gridding.kaiser_bessel_footprint(np.minimum(steps * gridding.TABLE_END / gridding.TABLE_LENGTH, 0.5))
    blob[steps >= gridding.TABLE_LENGTH] = 0.0
    return np.asarray(np.abs(np.fft.ifftn(np.fft.fftn(whole) * blob))[..., :half])


@pytest.mark.parametrize(("size", "period"), [(41, 40.0), (11, 10.0)], ids=["even", "lopsided"])
def test_a_convolution_in_place_is_that_of_whole_complex_arrays(size: int, period: float) -> None:
    weight = some_weight(size, size // 2 - 1) * (1 + 0.1 * (np.arange(size // 2 + 1) % 2))
    convolution = gridding.BlobConvolution(weight.shape, period, cpu(2))
    convolution.take(weight.__getitem__, precise=True)
    convolution.run()
    found = convolution.modulus(slice(0, size))
    assert found == pytest.approx(convolution_modulus(weight, period), rel=1e-9, abs=1e-9)


def test_evened_weights_are_even_under_the_blob() -> None:
    size = 41
    weight = some_weight(size, 19)
    evened = gridding.even_out(weight.__getitem__, weight.shape, 40.0, cpu(), iterations=30)
    sums = convolution_modulus(evened.astype(np.float64), 40.0)
    inner = squared_radius([full_axis(size), full_axis(size), np.arange(size // 2 + 1)]) < 14**2
    assert np.abs(sums[inner] - 1).max() < 0.05
    assert np.ptp(convolution_modulus(weight, 40.0)[inner]) > 5


@pytest.mark.parametrize("largest", [1e2, 1e4, 1e6])
def test_small_weights_beside_large_ones_are_evened_as_by_the_whole_complex_convolution(largest: float) -> None:
    """As of a class with few images: the MAP term outweighs the data in fine shells by orders."""
    size, period = 63, 64.0
    k = full_axis(size)
    squares = k[:, None] ** 2 + np.arange(size // 2 + 1) ** 2
    weight = np.where(squares < 30**2, largest ** (np.sqrt(squares) / 30), 0.0)[None]
    evened = gridding.even_out(weight.__getitem__, weight.shape, period, cpu())[0]
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
