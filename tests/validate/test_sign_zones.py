"""Zones of opposite sign: a wrong defocus leaves some, noise and good maps leave none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from extrecon.fourier.masks import soft_sphere
from extrecon.maps.mrc import read_volume
from extrecon.relion.symmetry import symmetry_group
from extrecon.simulate.projection import contrast_transfer
from extrecon.validate.fsc import fsc, shell_radius
from extrecon.validate.sign_zones import SIGMAS, independent_points, sign_zones, zone_numbers, zone_warning

BOX, PIXEL = 64, 3.0
MASK = soft_sphere(BOX, 20.0)


def ctf(defocus_angstrom: float) -> np.ndarray:
    """Return the CTF along a radius, one value a shell."""
    image = contrast_transfer(np.array([[defocus_angstrom], [defocus_angstrom], [0.0]]), BOX, PIXEL, 200, 1.4, 0.1)
    return np.asarray(image[0, 0])


def filtered(volume: np.ndarray, gain: np.ndarray) -> np.ndarray:
    shell = np.minimum(np.floor(shell_radius(BOX) + 0.5).astype(int), BOX // 2)
    return np.asarray(np.fft.irfftn(np.fft.rfftn(volume) * gain[shell], s=volume.shape, axes=(0, 1, 2)))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    rng = np.random.default_rng(1)
    return scipy.ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 0.8) * MASK


@pytest.mark.parametrize("defocus_angstrom", [22000.0, 26000.0, 30000.0])
def test_a_wrong_defocus_is_told_with_its_zones(truth: np.ndarray, defocus_angstrom: float) -> None:
    true, taken = ctf(10000.0), ctf(defocus_angstrom)
    # What images with the one CTF, reconstructed with the other, converge to.
    wrong = filtered(truth, true * taken / (taken**2 + 0.1))
    zones = sign_zones(wrong, truth, MASK, PIXEL)
    opposite = [zone for zone in zones if zone.fsc < 0]
    flipped = np.flatnonzero(true * taken < 0)
    # Finer zones are narrower than the mask can tell apart.
    coarsest = np.split(flipped, np.flatnonzero(np.diff(flipped) > 1) + 1)[0]
    assert len(coarsest) >= 3
    assert abs(opposite[0].first_shell - coarsest[0]) <= 1
    assert abs(opposite[0].last_shell - coarsest[-1]) <= 1
    told = zone_warning(zones, "model")
    edge = BOX * PIXEL
    first = opposite[0]
    assert f"{edge / (first.first_shell - 0.5):.3g}–{edge / (first.last_shell + 0.5):.3g} Å" in told
    assert "CTF is likely wrong" in told
    assert [each["first_shell"] for each in zone_numbers(zones)] == [zone.first_shell for zone in opposite]


def test_a_noisy_but_right_map_is_not_warned_of(truth: np.ndarray) -> None:
    noise = np.random.default_rng(2).standard_normal(truth.shape) * 3 * truth.std()
    for good in (truth, truth + noise, filtered(truth, np.abs(ctf(42000.0)))):
        zones = sign_zones(good, truth, MASK, PIXEL)
        assert zones[0].sigmas > SIGMAS
        assert zone_warning(zones, "truth") == ""
        assert zone_numbers(zones) == []


@pytest.mark.parametrize("group", ["C1", "D2"])
def test_noise_warns_at_no_seed(truth: np.ndarray, group: str) -> None:
    order = len(symmetry_group(group))
    least = []
    for seed in range(100, 125):
        noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(truth.shape), 0.6)
        model = truth
        if group == "D2":  # twofolds along the axes, about voxel n // 2
            noise, model = (_with_twofolds(each) for each in (noise, truth))
        zones = sign_zones(noise, model, MASK, PIXEL, order)
        assert zone_warning(zones, "model") == "", seed
        curve, points = fsc(noise * MASK, model * MASK), independent_points(MASK) / order
        least.append(curve[4:] * np.sqrt(points[4:]))
    # The points that count as independent are neither too many nor far too few.
    assert 0.6 < np.std(least) < 1.15


def _with_twofolds(volume: np.ndarray) -> np.ndarray:
    def turned(axes: tuple[int, int]) -> np.ndarray:
        return np.asarray(np.roll(np.flip(volume, axes), (1, 1), axes))

    return np.asarray(volume + turned((0, 1)) + turned((0, 2)) + turned((1, 2)))


def test_shells_beyond_the_limit_are_not_asked(truth: np.ndarray) -> None:
    gain = np.where(np.isin(np.arange(BOX // 2 + 1), [8, 9, 10, 20, 21, 22]), -1.0, 1.0)
    wrong, edge = filtered(truth, gain), BOX * PIXEL
    told = [zone for zone in sign_zones(wrong, truth, MASK, PIXEL) if zone.fsc < 0]
    assert [zone.first_shell for zone in told] == pytest.approx([8, 20], abs=1)
    told = [zone for zone in sign_zones(wrong, truth, MASK, PIXEL, 1, edge / 15) if zone.fsc < 0]
    assert [zone.first_shell for zone in told] == pytest.approx([8], abs=1)
    assert sign_zones(wrong, truth, MASK, PIXEL, 1, np.inf) == []


def test_an_inverted_map_is_told_as_one(truth: np.ndarray) -> None:
    zones = sign_zones(-truth, truth, MASK, PIXEL)
    assert all(zone.fsc < 0 for zone in zones)
    assert "contrast inverted" in zone_warning(zones, "model")


def test_a_mask_leaves_as_many_points_as_the_share_of_the_box_that_it_fills() -> None:
    everywhere = independent_points(np.ones((BOX,) * 3))
    sharp = independent_points((soft_sphere(BOX, 20.0) > 0.5).astype(np.float64))
    share = (soft_sphere(BOX, 20.0) > 0.5).mean()
    assert everywhere[10] == pytest.approx(4 * np.pi * 10**2, rel=0.05)
    assert sharp == pytest.approx(everywhere * share)


def test_the_demo_half_map_is_right() -> None:
    data = Path(__file__).resolve().parents[2] / "scripts" / "demo_data"
    half, truth, mask = (read_volume(data / f"{name}.mrc") for name in ("half1", "truth", "mask"))
    zones = sign_zones(half, truth, mask, 5.4)
    assert zone_warning(zones, "truth") == ""
    assert zones[0].fsc > 0.5
