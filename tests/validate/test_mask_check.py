"""What a mask does to the FSC: an edge that makes correlation of its own is found out."""

from __future__ import annotations

import numpy as np
import pytest

from extrecon.fourier.masks import radius_px, soft_sphere
from extrecon.maps import HalfMap
from extrecon.validate.fsc import fsc_family, shell_radius
from extrecon.validate.mask_check import check_mask, overlap
from tests.jobs import blobs

BOX = 48


def halves(cut: float | None = None) -> tuple[HalfMap, HalfMap]:
    """Noise that differs, on a particle that both halves share."""
    rng = np.random.default_rng(3)
    body = blobs(BOX)
    found = []
    for _ in range(2):
        spectrum = np.fft.rfftn(body + 0.1 * rng.normal(size=(BOX,) * 3))
        if cut is not None:
            spectrum[shell_radius(BOX) > cut] = 0
        found.append(HalfMap(np.fft.irfftn(spectrum, s=(BOX,) * 3, axes=(0, 1, 2)), 2.0))
    return found[0], found[1]


def test_a_sharp_edge_through_the_particle_is_warned_of() -> None:
    sharp = (radius_px(BOX) < 3).astype(np.float32)
    check = check_mask(*halves(), sharp)
    assert check.gap > 0.1
    assert "the mask is too tight or its edge too sharp" in check.warning


def test_a_wide_soft_mask_is_not() -> None:
    check = check_mask(*halves(), soft_sphere(BOX, 16.0, 6.0))
    assert check.gap < 0.05
    assert check.warning == ""
    assert check.randomised[check.randomised_from + 2 :].max() < 0.15
    assert len(check.sentences()) == 2


def test_the_curves_are_those_of_the_family() -> None:
    first, second = halves()
    mask = soft_sphere(BOX, 12.0, 4.0)
    check, family = check_mask(first, second, mask), fsc_family(first.density, second.density, mask)
    assert np.array_equal(check.masked, family.masked)
    assert check.randomised == pytest.approx(family.randomised, abs=0.15)  # one draw and the mean of several
    assert set(check.curves) == {"unmasked", "masked", "randomised", "corrected"}


def test_shells_beyond_the_maps_own_end_do_not_count() -> None:
    # What leaks there from inside is the same in both, so that the FSC is high where there is nothing.
    check = check_mask(*halves(cut=12.0), soft_sphere(BOX, 12.0, 4.0))
    assert check.last == 12
    assert check.resolution("masked") >= BOX * 2.0 / 12
    assert check_mask(*halves(), soft_sphere(BOX, 12.0, 4.0)).last == BOX // 2


def test_overlap_of_masks() -> None:
    one = np.zeros((4, 4, 4))
    one[:2] = 1
    other = np.zeros((4, 4, 4))
    other[1:3] = 1
    assert overlap(one, one) == 1.0
    assert overlap(one, other) == 0.5
    assert overlap(one, 1 - one) == 0.0
