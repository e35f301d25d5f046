"""Masked maps, whose solvent tells no noise: refused where the result hangs on it, told elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import particle_mask
from extrecon.maps import HalfMap
from extrecon.maps.solvent import constant_share, inscribed_sphere
from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, Context, load
from extrecon.settings import read_settings
from tests.jobs import blobs

BOX, PIXEL = 40, 2.5
Volume = npt.NDArray[np.float32]


@cache
def mask() -> Volume:
    return particle_mask(HalfMap(blobs(BOX), PIXEL))


def half(number: int, masked: bool, level: float = 0.0, around: float = 0.0) -> HalfMap:
    """One of two half-maps; masked ones hold ``level`` outside the mask, with faint ripples ``around`` it."""
    noise = 0.1 * np.random.default_rng(number).normal(size=(BOX,) * 3)
    density = blobs(BOX) + noise
    if masked:
        density = mask() * (density - level) + level + around * noise
    return HalfMap(density.astype(np.float32), PIXEL)


def context(of: Any, **known: Any) -> Context:
    return Context(read_settings(of.settings_type, {}, of.name), **{"compute": cpu(1), "mask": mask(), **known})


@pytest.mark.parametrize(("level", "around"), [(0.0, 0.0), (0.03, 0.0), (0.0, 1e-4)])
@pytest.mark.parametrize("both", [True, False])
def test_monores_refuses_masked_maps(both: bool, level: float, around: float) -> None:
    method = load("monores", LOCAL_RESOLUTION_GROUP)
    for masked in (True, False):
        given = context(method, other_half=half(2, masked, level, around) if both else None)
        if masked:
            with pytest.raises(RegularizerError, match=r"was masked: \d+% of the voxels.*_unfil\.mrc"):
                method.estimate(half(1, masked, level, around), given)
        else:
            resolution = method.estimate(half(1, masked), given).resolution_angstrom
            assert np.median(resolution[resolution > 0]) > 2.2 * PIXEL


def test_localdeblur_refuses_masked_maps_or_tells() -> None:
    deblur = load("localdeblur")
    with pytest.raises(RegularizerError, match="was masked"):
        deblur.regularize(half(1, masked=True), context(deblur))
    resolution = np.where(mask() > 0.5, np.float32(8.0), np.float32(0.0))
    for masked in (True, False):
        found = deblur.regularize(half(1, masked), context(deblur, local_resolution=resolution))
        assert ["was masked" in told for told in found.warnings] == [True] * masked


def test_the_confidence_map_refuses_masked_maps() -> None:
    fdr = load("fdr-mask")
    assert fdr.regularize(half(1, masked=False), context(fdr)).density.shape == (BOX,) * 3
    for around in (0.0, 1e-4):
        with pytest.raises(RegularizerError, match="rim is constant"):
            fdr.regularize(half(1, masked=True, around=around), context(fdr))


@pytest.mark.parametrize("name", ["profile", "cnn"])
def test_others_tell_of_masked_maps(name: str) -> None:
    regularizer = load(name)
    for masked in (True, False):
        found = regularizer.regularize(half(1, masked), context(regularizer))
        assert ["was masked" in told for told in found.warnings] == [True] * masked


def test_with_an_fsc_the_network_needs_no_solvent() -> None:
    cnn = load("cnn")
    fsc = np.clip(np.linspace(1.2, 0.0, BOX // 2 + 1), 0, 1)
    assert list(cnn.regularize(half(1, masked=True), context(cnn, half_map_fsc=fsc)).warnings) == []


def test_the_constant_that_relion_writes_in_the_corners_is_no_mask() -> None:
    density = np.where(inscribed_sphere(BOX), half(1, masked=False).density, np.float32(0.01))
    around = (mask() < 0.5) & inscribed_sphere(BOX)
    assert constant_share(density, around) < 0.01
    assert constant_share(density, mask() < 0.5) > 0.4
    method = load("monores", LOCAL_RESOLUTION_GROUP)
    assert method.estimate(HalfMap(density, PIXEL), context(method)).resolution_angstrom.any()
