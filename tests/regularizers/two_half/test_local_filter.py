"""Weights are Wiener's where the answer is known in closed form, and the filter has the symmetries it must have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.call.alignment import measure_shift
from extrecon.fourier.edges import falling_edge
from extrecon.fourier.masks import EDGE_PX, radius_px
from extrecon.fourier.shells import Shells, fsc_of_maps, power
from extrecon_regularizers.two_half.bands import Band, BandGrid, bands_of
from extrecon_regularizers.two_half.local_filter import Where, local_power, noise_from_other, weights
from tests.regularizers.two_half.fields import BOX, CPU, RADIUS, Volume, filtered, grainy_ball, halves, white

WHERE: list[Where] = ["particle", "sphere", "local"]


def weights_in(band: Band, half: Volume, other: Volume, where: Where) -> npt.NDArray[np.float64]:
    grid = BandGrid(band, BOX, CPU)
    voxels = grid.filtered(CPU.rfftn(half, axes=(0, 1, 2)))
    local = local_power(grid, voxels, 1.0)
    noise = noise_from_other(other, 1.0, where, CPU)(0, grid, voxels)
    return np.asarray(weights(local, noise, CPU), dtype=np.float64)


def fine_bands() -> list[Band]:
    """Those whose windows are much smaller than the ball."""
    found = [band for band in bands_of(BOX) if 12 < band.centre < 30]
    assert len(found) >= 3
    return found


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("signal", [0.5, 1.0, 4.0, 25.0])
def test_weights_are_signal_over_signal_and_noise(signal: float, where: Where) -> None:
    """S / (S + N) with S under the window, across the ball's edge too; mean of bands and draws.

    Inside and at the edge to 0.03. Beyond, where weights cannot fall below 0, chance leaves some; so does what a
    band smears across an edge of power 25: 0.09.
    """
    off: list[list[float]] = [[], [], [], []]
    for half, other in (halves(signal, seed) for seed in (1, 2)):
        for band in fine_bands():
            found, grid = weights_in(band, half, other, where), BandGrid(band, BOX, CPU)
            distance = radius_px(band.grid) * BOX / band.grid
            ball = falling_edge((distance - RADIUS) / EDGE_PX)  # as `soft_sphere` has it
            power_there = signal * grid.smoothed(ball**2, grid.window_px(1.0))
            for ring, each in enumerate(off):
                there = (distance >= 8 * ring) & (distance < 8 * ring + 8)
                each.append((found - power_there / (power_there + 1.0))[there].mean())
    assert np.mean(off[:3], axis=1) == pytest.approx([0.0] * 3, abs=0.03)
    assert 0.0 <= np.mean(off[3]) < 0.09


def test_local_noise_lowers_weights_where_it_is_stronger() -> None:
    """Noise powers of 1 and 4. The mean, 2.5, is the least that counts: the quiet side is not trusted more."""
    signal, deviation = 12.0, np.where(np.arange(BOX) < BOX // 2, 1.0, 2.0).astype(np.float32)[:, None, None]
    everywhere = np.sqrt(np.float32(signal)) * white(1000)
    half, other = everywhere + deviation * white(1), everywhere + deviation * white(2)
    for band in fine_bands():
        if band.centre < 20:
            continue
        fine = band.grid / BOX
        quiet, loud = (slice(round(first * fine), round((first + 8) * fine)) for first in (12, 44))
        local = weights_in(band, half, other, "local")
        assert local[loud].mean() == pytest.approx(signal / (signal + 4), abs=0.03)
        assert local[quiet].mean() == pytest.approx(1 - 2.5 / (signal + 1), abs=0.03)
        one = weights_in(band, half, other, "sphere")
        assert one[loud].mean() == pytest.approx(1 - 2.5 / (signal + 4), abs=0.03)


def test_a_weakly_seen_region_loses_what_is_noise() -> None:
    """Half of the ball lacks its fine shells. The whole comes nearer to the truth, the other half stays (0.005)."""
    strong, shells = grainy_ball(4.0), Shells(BOX, CPU)
    spectrum = shells.spectrum(strong)
    shells.scale(spectrum, np.exp(-((np.arange(shells.count) / 9.0) ** 2)))
    weakly = (np.arange(BOX) >= BOX // 2)[:, None, None]
    truth = np.where(weakly, shells.density(spectrum), strong).astype(np.float32)
    half, other = truth + white(1), truth + white(2)
    found, _ = filtered(half, other)
    inside = radius_px(BOX) < 18
    for where, gain in ((inside, 0.03), (inside & ~weakly, -0.005)):
        before, after = (fsc_of_maps(each * where, truth * where, CPU)[12:30].mean() for each in (half, found))
        assert after > before + gain


@pytest.mark.parametrize("where", WHERE)
def test_grey_scale_is_linear(where: Where) -> None:
    half, other = halves(2.0)
    once, thrice = filtered(half, other, where)[0], filtered(-3.0 * half, -3.0 * other, where)[0]
    np.testing.assert_allclose(thrice, -3.0 * once, atol=1e-4)


@pytest.mark.parametrize("where", WHERE)
def test_it_turns_with_the_map(where: Where) -> None:
    """By a quarter turn about voxel n // 2, which keeps the grid."""
    half, other = halves(2.0)

    def turned(density: Volume) -> Volume:
        return np.roll(np.rot90(density, axes=(0, 2)), 1, axis=0)  # voxel n // 2 stays where it is

    straight = turned(filtered(half, other, where)[0])
    np.testing.assert_allclose(filtered(turned(half), turned(other), where)[0], straight, atol=1e-3)


def test_nothing_shifts_and_no_shell_gains_power() -> None:
    half, other = halves(1.0)
    found, told = filtered(half, other)
    shells = Shells(BOX, CPU)
    ours, theirs = shells.spectrum(found), shells.spectrum(half)
    assert np.linalg.norm(measure_shift(ours, theirs, CPU)) < 0.05
    assert (power(ours, shells) <= power(theirs, shells) * (1 + 1e-5)).all()
    assert (power(ours, shells)[10:] < 0.6 * power(theirs, shells)[10:]).all()
    assert all(0 <= band.kept <= 1 for band in told)


def test_halves_change_places() -> None:
    """Both take the same noise powers, so that neither half is filtered more than the other."""
    half, other = halves(1.0)
    for first, second in zip(filtered(half, other)[1], filtered(other, half)[1], strict=True):
        assert first.noise_power == pytest.approx(second.noise_power, rel=1e-4)
        assert first.shell == second.shell


def test_empty_bands_stay_empty() -> None:
    smooth = grainy_ball(1.0) * 0 + 1.0
    found, told = filtered(smooth, smooth)
    np.testing.assert_allclose(found, 1.0, atol=1e-5)
    assert np.isfinite([band.kept for band in told]).all()
