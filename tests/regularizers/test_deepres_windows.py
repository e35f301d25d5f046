"""What DeepRes's network is shown: closed forms of plane waves."""

from __future__ import annotations

import numpy as np
import pytest

from extrecon_regularizers.deepres.windows import BANDS, NARROW_BANDS, WIDE_BANDS, look_at

BOX = 64


def wave(orders: tuple[int, int, int]) -> np.ndarray:
    """Return a plane wave that fits so many times into the box along z, y and x."""
    z, y, x = np.meshgrid(*[np.arange(BOX) / BOX] * 3, indexing="ij")
    turns = orders[0] * z + orders[1] * y + orders[2] * x
    return np.cos(2 * np.pi * turns + 0.7).astype(np.float32)


@pytest.mark.parametrize("orders", [(4, 0, 0), (5, -3, 2), (0, 9, 5), (-10, 4, 3), (16, 8, 5), (9, 11, 16)])
def test_a_plane_wave_lies_in_the_two_bands_beside_its_period(orders: tuple[int, int, int]) -> None:
    """Of triangles that overlap to 1, a wave has shares g² and (1 − g)², whichever grid a band is made on."""
    bands = look_at(wave(orders)).bands
    first = 0
    for periods in (WIDE_BANDS, NARROW_BANDS):
        octaves = -np.log2(np.array(periods))
        width = (octaves[-1] - octaves[0]) / (len(periods) - 1)
        gain = np.clip(1 - np.abs(np.log2(np.linalg.norm(orders) / BOX) - octaves) / width, 0, None)
        share = np.exp(4 * (bands[first : first + len(periods)] - 0.75))
        expected = gain**2 / (gain**2).sum()
        assert np.allclose(share.mean(axis=(1, 2, 3)), expected, atol=0.025)
        first += len(periods)
    assert first == len(bands) == BANDS


def test_bands_are_told_where_they_are() -> None:
    """A coarse wave in one half of a box, a finer one in the other: each block's strongest band is its own."""
    volume = wave((5, 0, 0))
    volume[:, :, BOX // 2 :] = wave((12, 0, 0))[:, :, BOX // 2 :]
    bands = look_at(volume).bands[len(WIDE_BANDS) :]
    strongest = np.array(NARROW_BANDS)[bands.argmax(axis=0)]
    left, right = strongest[:, :, 6:10], strongest[:, :, 22:26]
    assert np.allclose(left, BOX / 5, rtol=0.06)
    assert np.allclose(right, BOX / 12, rtol=0.06)


def test_no_half_voxel_lies_between_bands_that_are_made_on_blocks_and_on_voxels() -> None:
    """A map that is its own mirror image about the middle of its box gives bands that are."""
    volume = np.random.default_rng(1).standard_normal((BOX,) * 3, dtype=np.float32)
    envelope = np.exp(-(((np.arange(BOX) - (BOX - 1) / 2) / 9) ** 2)).astype(np.float32)
    volume = (volume + np.flip(volume)) * envelope[:, None, None] * envelope[:, None] * envelope
    bands = look_at(volume).bands
    assert np.abs(bands - np.flip(bands, axis=(1, 2, 3))).max() < 0.02
