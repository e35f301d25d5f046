"""What LocalDeblur adds where particles are aligned against its result."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage

from extrecon.errors import RegularizerError
from extrecon.fourier.masks import particle_mask, soft_sphere
from extrecon.maps import HalfMap
from extrecon.regularizer import Context
from extrecon.settings import Setting, read_settings
from extrecon_regularizers.localdeblur.regularizer import LocalDeblur
from tests.regularizers.treated import treated

BOX, PIXEL = 40, 2.5
Volume = npt.NDArray[np.float32]


def blob(seed: int = 1, noise: float = 0.02) -> Volume:
    rng = np.random.default_rng(seed)
    inside = soft_sphere(BOX, 11.0)
    grain = scipy.ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 1.3)
    return (inside * (1 + 4 * grain) + noise * rng.standard_normal(inside.shape)).astype(np.float32)


def context(given: dict[str, Setting] | None = None, **known: Any) -> Context:
    return Context(read_settings(LocalDeblur.settings_type, given or {}, "localdeblur"), **known)


def fsc() -> npt.NDArray[np.float64]:
    return np.clip(1.2 - np.arange(BOX // 2 + 1) / 12, 0, 1)


def test_refinement_has_defaults_of_its_own() -> None:
    half_map = HalfMap(blob(), PIXEL)
    mask = particle_mask(half_map, 90.0)
    alone, done = treated(LocalDeblur(), half_map, context(mask=mask, half_map_fsc=fsc()))
    assert (done["blend"], done["solvent"]) == ("none", "kept")
    known: dict[str, Any] = {"mask": mask, "half_map_fsc": fsc(), "inside_refinement": True}
    inside, done = treated(LocalDeblur(), half_map, context(**known))
    assert inside.facts["rounds"] <= 3
    assert (done["solvent"], done["mask"]) == ("flattened", "the call's")
    assert done["weights"] == pytest.approx(1 - fsc(), abs=1e-4)
    same, _ = treated(LocalDeblur(), half_map, context({"rounds": 50}, **known), blend="none", solvent="keep")
    assert np.array_equal(same.density, alone.density)


def test_without_a_mask_the_solvent_is_told_from_the_density() -> None:
    """A local-resolution map that was given makes do without a mask."""
    resolution = np.where(soft_sphere(BOX, 11.0) > 0.5, 8.0, 0.0)
    half_map = HalfMap(blob(), PIXEL)
    flat, done = treated(LocalDeblur(), half_map, context(local_resolution=resolution), solvent="flatten")
    assert done["mask"] == "made from the regularizer's density"
    corner = flat.density[:6, :6, :6]
    assert corner.std() < 1e-6 * flat.density.std()


@pytest.mark.parametrize(("angstrom", "k"), [(5.5, 0.025), (7.0, 0.01)])
def test_automatic_k_follows_a_uniform_resolution(angstrom: float, k: float) -> None:
    resolution = np.where(soft_sphere(BOX, 11.0) > 0.5, angstrom, 0.0)
    result = LocalDeblur().regularize(HalfMap(blob(), PIXEL), context(local_resolution=resolution))
    assert result.facts["K"] == pytest.approx(k)
    assert np.isfinite(result.density).all()
    assert not result.warnings


@pytest.mark.parametrize("seed", range(4))
def test_noise_alone_is_refused(seed: int) -> None:
    noise = np.random.default_rng(seed).standard_normal((BOX,) * 3).astype(np.float32)
    half_map = HalfMap(noise, PIXEL)
    known: dict[str, Any] = {
        "mask": particle_mask(half_map, 90.0),
        "half_map_fsc": fsc(),
        "particle_diameter_angstrom": 90.0,
        "inside_refinement": True,
    }
    with pytest.raises(RegularizerError, match="as noise alone would"):
        LocalDeblur().regularize(half_map, context(**known))
