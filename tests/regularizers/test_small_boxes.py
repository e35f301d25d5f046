"""Boxes smaller than a network's block or a window: a result, or one clear sentence."""

from __future__ import annotations

import numpy as np
import pytest

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import particle_mask
from extrecon.maps import HalfMap
from extrecon.regularizer import Context, available, load
from extrecon.settings import read_settings
from tests.jobs import blobs
from tests.regularizers.treated import treated

PIXEL = 3.0
OURS = ("cnn", "fdr-mask", "identity", "localdeblur", "profile")
TOO_SMALL = {
    "cnn": (8, "times the resolution"),
    "localdeblur": (10, "leaves no solvent"),
    "profile": (8, "give a smaller --set window"),
}
"""Up to which box a regularizer refuses, with these voxels, and what it says."""


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("box", [8, 10, 16, 24, 27, 32])
@pytest.mark.parametrize("name", OURS)
def test_a_small_box_works_or_is_told(name: str, box: int, inside: bool) -> None:
    assert set(OURS) <= set(available())
    noise = 0.02 * np.random.default_rng(0).normal(size=(box,) * 3)
    half_map = HalfMap((blobs(box) + noise).astype(np.float32), PIXEL)
    regularizer = load(name)
    given = Context(
        read_settings(regularizer.settings_type, {}, name),
        mask=particle_mask(half_map),
        half_map_fsc=np.clip(np.linspace(1.2, 0.1, box // 2 + 1), 0, 1),
        inside_refinement=inside,
        compute=cpu(1),
    )
    if box <= TOO_SMALL.get(name, (0, ""))[0]:
        with pytest.raises(RegularizerError, match=TOO_SMALL[name][1]):
            regularizer.regularize(half_map, given)
        return
    density = treated(regularizer, half_map, given)[0].density
    assert density.shape == (box,) * 3
    assert np.isfinite(density).all()
    assert np.corrcoef(density.ravel(), blobs(box).ravel())[0, 1] > 0.8
