from __future__ import annotations

import numpy as np
import pytest

from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon.fourier.shells import Shells, correlation, fourier_shell_correlation, power

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
