"""What crosses between the halves makes nothing agree that did not."""

from __future__ import annotations

import numpy as np
import pytest

from extrecon.fourier.shells import Shells, fsc_of_maps, power
from extrecon_regularizers.two_half.bands import BandGrid, bands_of
from extrecon_regularizers.two_half.local_filter import Where, filtered_with, local_power, noise_given
from tests.regularizers.two_half.fields import BOX, CPU, Volume, filtered, grainy_ball, halves, white

SEEDS = range(2)
FINE = slice(8, 32)


def mean_fsc(pairs: list[tuple[Volume, Volume]]) -> float:
    return float(np.mean([fsc_of_maps(*pair, CPU)[FINE] for pair in pairs]))


def randomised(density: Volume, beyond: int, seed: int) -> Volume:
    """Give every Fourier point beyond a shell the phase of noise."""
    shells = Shells(BOX, CPU)
    kept, phases = shells.spectrum(density), shells.spectrum(white(seed))
    inside = (np.arange(shells.count) <= beyond).astype(np.float64)
    fine = np.abs(kept) * phases / np.abs(phases)
    shells.scale(kept, inside)
    shells.scale(fine, 1.0 - inside)
    return shells.density(kept + fine.astype(kept.dtype))


@pytest.mark.parametrize(("where", "most_kept"), [("particle", 0.01), ("sphere", 0.02), ("local", 0.02)])
def test_noise_stays_noise(where: Where, most_kept: float) -> None:
    """Its weights were made by each half by itself, so what is left of it agrees no better than chance."""
    pairs, kept = [], []
    for seed in SEEDS:
        first, second = white(10 + 2 * seed), white(11 + 2 * seed)
        (one, told), (other, _) = filtered(first, second, where), filtered(second, first, where)
        pairs.append((one, other))
        kept += [band.kept for band in told if band.shell > 8]
    assert np.mean(kept) < most_kept
    assert abs(mean_fsc(pairs)) < 0.02


def test_weights_by_local_correlation_would_make_noise_agree() -> None:
    """Why no voxel's weight may know where the halves agree: the same filter with such weights."""
    pairs = []
    for seed in SEEDS:
        first, second = white(10 + 2 * seed), white(11 + 2 * seed)
        spectra = [CPU.rfftn(half, axes=(0, 1, 2)) for half in (first, second)]
        totals = [np.zeros_like(spectrum) for spectrum in spectra]
        for band in bands_of(BOX):
            grid = BandGrid(band, BOX, CPU)
            one, other = (grid.filtered(spectrum) for spectrum in spectra)
            mean_power = 0.5 * (local_power(grid, one, 1.0) + local_power(grid, other, 1.0))
            weight = np.clip(grid.smoothed(one * other, grid.window_px(1.0)) / mean_power, 0.0, 1.0)
            for voxels, total in ((one, totals[0]), (other, totals[1])):
                grid.add_filtered(voxels * weight, total)
        shells = Shells(BOX, CPU)
        pairs.append((shells.density(totals[0]), shells.density(totals[1])))
    assert mean_fsc(pairs) > 0.2


@pytest.mark.parametrize("where", ["particle", "sphere"])
def test_one_number_a_band_is_all_that_crosses(where: Where) -> None:
    """The filter that never sees the other half, given those numbers, makes the same map."""
    half, other = halves(2.0)
    found, told = filtered(half, other, where)
    by_hand, _ = filtered_with(half, noise_given([band.noise_power for band in told]), 1.0, CPU)
    np.testing.assert_allclose(by_hand, found, atol=1e-5)


def test_what_the_other_half_does_not_show_goes() -> None:
    """Half 2's phases are randomised beyond shell 12: half 1 gains nothing there, and keeps little."""
    half, other = halves(6.0)
    astray = randomised(other, 12, 99)
    shells = Shells(BOX, CPU)
    before, agreed, alone = (
        power(shells.spectrum(m), shells) for m in (half, filtered(half, other)[0], filtered(half, astray)[0])
    )
    fine = slice(17, 32)
    assert (alone[fine] < 0.1 * before[fine]).all()
    assert (agreed[fine] > 0.2 * before[fine]).all()
    assert alone[2:8] == pytest.approx(agreed[2:8], rel=0.05)
    # What is left of half 1 is its own; it has taken nothing of what half 2 now shows there.
    against_astray = fsc_of_maps(filtered(half, astray)[0], astray, CPU)[fine]
    assert abs(against_astray.mean()) < 0.02
    filtered_both = fsc_of_maps(filtered(half, astray)[0], filtered(astray, half)[0], CPU)[fine]
    assert abs(filtered_both.mean()) < 0.03


@pytest.mark.parametrize("where", ["particle", "sphere", "local"])
def test_structure_of_one_half_alone_does_not_cross(where: Where) -> None:
    """A ball in half 2 where half 1 has noise leaves no trace in half 1."""
    ball = np.roll(grainy_ball(9.0, radius=8.0), 12, axis=0)
    first, second = white(21), white(22) + ball
    found, _ = filtered(first, second, where)
    assert abs(fsc_of_maps(found, ball, CPU)[FINE].mean()) < 0.02
