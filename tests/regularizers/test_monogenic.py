"""The monogenic amplitude of waves, which is known: that of cos(2π k·x) is 1 everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon_regularizers.localdeblur.monogenic import (
    EDGE_CYCLES,
    MonogenicAmplitude,
    Region,
    gaussian,
    high_pass,
    low_pass,
)

BOX = 24
Volume = npt.NDArray[np.float64]
COMPUTES = pytest.mark.parametrize("compute", [cpu(1), cpu(2), TorchCompute("cpu")], ids=["one", "two", "torch"])
WAVES = [(0, 0, 9), (0, 9, 0), (9, 0, 0), (-5, 6, 4), (3, -7, 7)]


def wave(*along: int, phase: float = 0.4) -> Volume:
    """cos(2π k·x / n + phase) for a wave vector of whole Fourier pixels, z, y, x."""
    z, y, x = (k * np.arange(BOX) for k in along)
    return np.cos(2 * np.pi * (z[:, None, None] + y[:, None] + x) / BOX + phase)


def everywhere(compute: Compute, box: int = BOX) -> list[Region]:
    return [Region(compute, np.ones((box,) * 3, np.bool_))]


def amplitude_above(volume: Volume, shell: int, compute: Compute) -> npt.NDArray[np.floating]:
    box = len(volume)
    measured = MonogenicAmplitude(compute, volume, np.float64, box // 2)
    return measured.above(shell, True, everywhere(compute, box))[0]


@COMPUTES
@pytest.mark.parametrize("along", WAVES)
def test_a_plane_wave_has_a_constant_amplitude(along: tuple[int, int, int], compute: Compute) -> None:
    """Its Riesz transforms are the wave a quarter period on, shared among the axes as k / |k|."""
    assert amplitude_above(3.0 * wave(*along), 5, compute) == pytest.approx(3.0, abs=1e-9)
    broad = MonogenicAmplitude(compute, wave(*along), np.float64, 4).broadband(2.0, everywhere(compute))[0]
    assert broad == pytest.approx(1.0, abs=1e-9)


@COMPUTES
def test_what_is_coarser_than_the_limit_is_gone(compute: Compute) -> None:
    both = wave(0, 0, 3) + 0.5 * wave(4, 8, 1)
    assert amplitude_above(both, 8, compute) == pytest.approx(0.5, abs=1e-9)
    assert amplitude_above(wave(1, 2, 2), 8, compute) == pytest.approx(0.0, abs=1e-9)


def test_the_mean_has_no_amplitude_of_its_own() -> None:
    assert amplitude_above(wave(4, 8, 1) + 100.0, 6, cpu(1)) == pytest.approx(1.0, abs=1e-9)


def test_the_axes_are_alike_and_a_shift_shifts() -> None:
    volume = np.random.default_rng(3).standard_normal((33,) * 3)  # odd: at Nyquist a wave has no sense of direction
    found = amplitude_above(volume, 8, cpu(1)).reshape(volume.shape)
    turned = amplitude_above(np.ascontiguousarray(volume.transpose(1, 2, 0)), 8, cpu(1)).reshape(volume.shape)
    moved = amplitude_above(np.roll(volume, (3, -5, 7), (0, 1, 2)), 8, cpu(1)).reshape(volume.shape)
    assert np.allclose(turned, found.transpose(1, 2, 0), atol=1e-12)
    assert np.allclose(moved, np.roll(found, (3, -5, 7), (0, 1, 2)), atol=1e-12)
    assert found.min() < 0.8 * found.max()


@COMPUTES
def test_a_region_gives_its_voxels_in_order(compute: Compute) -> None:
    rng = np.random.default_rng(4)
    volume, inside = rng.standard_normal((BOX,) * 3), rng.random((BOX,) * 3) < 0.1
    inside[5:9] = False
    region = Region(compute, inside)
    assert region.size == inside.sum()
    measured = MonogenicAmplitude(compute, volume, np.float64, BOX // 2)
    some, whole = measured.above(6, True, [region, *everywhere(compute)])
    assert np.array_equal(some, whole.reshape(volume.shape)[inside])


def test_nyquist_is_unknown_where_the_reference_program_never_assigns_it() -> None:
    measured = MonogenicAmplitude(cpu(1), wave(0, 0, 9), np.float64, BOX // 2)
    assert np.isnan(measured.above(BOX // 2, False, everywhere(cpu(1)))[0]).all()
    assert np.isfinite(measured.above(BOX // 2, True, everywhere(cpu(1)))[0]).all()


def test_the_filters_edges() -> None:
    f, middle = 0.3, EDGE_CYCLES / 2
    around = np.array([f - 2 * middle, f - middle, f, f + middle, f + 2 * middle])
    assert high_pass(around, f) == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0])
    assert low_pass(around, f) == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0])
    assert low_pass(np.array([0.49, 0.495, 0.5]), 0.49) == pytest.approx([1.0, 0.5, 0.0])
    assert low_pass(np.array([0.5, 0.51]), 0.5) == pytest.approx([1.0, 0.0])
    assert gaussian(np.array([0.0, 0.25, 0.5]), 2.0) == pytest.approx(
        [1.0, np.exp(-(np.pi**2) / 4), np.exp(-(np.pi**2))]
    )
