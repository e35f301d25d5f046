from __future__ import annotations

import numpy as np
import pytest

from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon.fourier.shells import Shells, correlation, fourier_shell_correlation, guinier_profile, power

COMPUTES = pytest.mark.parametrize("compute", [cpu(1), cpu(3), TorchCompute("cpu")], ids=["one", "three", "torch"])


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, n, n)).astype(np.float32)


@COMPUTES
@pytest.mark.parametrize("n", [8, 9])
def test_power_agrees_with_the_full_transform(n: int, compute: Compute) -> None:
    density = noise(n)
    shells = Shells(n, compute)
    k = np.fft.fftfreq(n, 1 / n)
    radius = np.floor(np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k**2) + 0.5).astype(int)
    full = np.abs(np.fft.fftn(density)) ** 2
    expected = [full[radius == shell].sum() for shell in range(n // 2 + 1)]
    assert power(shells.spectrum(density), shells) == pytest.approx(expected, rel=1e-5)


@COMPUTES
def test_a_map_whose_squares_pass_float32_has_a_power(compute: Compute) -> None:
    shells = Shells(8, compute)
    small, large = (shells.spectrum(scale * noise(8)) for scale in (np.float32(1), np.float32(1e24)))
    assert power(large, shells) == pytest.approx(1e48 * power(small, shells), rel=1e-5)
    assert fourier_shell_correlation(small, large, shells) == pytest.approx(np.ones(shells.count), abs=1e-5)


@COMPUTES
def test_spectrum_and_density_are_inverse(compute: Compute) -> None:
    density = noise(9)
    shells = Shells(9, compute)
    assert np.allclose(shells.density(shells.spectrum(density)), density, atol=1e-5)


@COMPUTES
def test_scaling_a_shell_scales_its_power_alone(compute: Compute) -> None:
    shells = Shells(12, compute)
    spectrum = shells.spectrum(noise(12))
    before = power(spectrum, shells)
    factor = np.linspace(0.5, 2.0, shells.count)
    shells.scale(spectrum, factor)
    assert power(spectrum, shells) == pytest.approx(before * factor**2, rel=1e-4)


@COMPUTES
def test_fsc_knows_identity_opposition_and_independence(compute: Compute) -> None:
    n = 32
    shells = Shells(n, compute)
    first, second = noise(n, 1), noise(n, 2)
    same = fourier_shell_correlation(shells.spectrum(first), shells.spectrum(3 * first), shells)
    opposed = fourier_shell_correlation(shells.spectrum(first), shells.spectrum(-first), shells)
    free = fourier_shell_correlation(shells.spectrum(first), shells.spectrum(second), shells)
    assert same == pytest.approx(np.ones(shells.count), abs=1e-5)
    assert opposed == pytest.approx(-np.ones(shells.count), abs=1e-5)
    assert np.abs(free[8:]).max() < 0.15


def test_fsc_of_an_empty_shell_is_zero() -> None:
    shells = Shells(8, cpu(1))
    zero = shells.spectrum(np.zeros((8, 8, 8), np.float32))
    assert np.array_equal(fourier_shell_correlation(zero, zero, shells), np.zeros(5))


def test_correlation_is_symmetric() -> None:
    shells = Shells(10, cpu(1))
    first, second = shells.spectrum(noise(10, 1)), shells.spectrum(noise(10, 2))
    assert correlation(first, second, shells) == pytest.approx(correlation(second, first, shells))


def test_guinier_profile_of_a_point_is_flat() -> None:
    point = np.zeros((24, 24, 24), dtype=np.float32)
    point[3, 5, 7] = 2.0
    assert np.allclose(guinier_profile(point, cpu(1)), np.log(2.0), atol=1e-5)


def test_guinier_profile_of_a_gaussian_is_a_line_in_squared_frequency() -> None:
    axis = np.minimum(np.arange(24), 24 - np.arange(24)) ** 2.0
    sigma = 1.5
    volume = np.exp(-(axis[:, None, None] + axis[:, None] + axis) / (2 * sigma**2)).astype(np.float32)
    squared = (np.arange(6) / 24) ** 2
    profile = guinier_profile(volume, cpu(1))[:6]
    expected = profile[0] - 2 * np.pi**2 * sigma**2 * squared
    assert np.allclose(profile, expected, atol=0.1)  # a shell spans a range of frequencies
