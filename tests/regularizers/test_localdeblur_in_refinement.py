"""What LocalDeblur adds where particles are aligned against its result."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
from extrecon_regularizers.blend import blended, flattened, weights_from_fsc
from extrecon_regularizers.localdeblur.regularizer import LocalDeblur

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import particle_mask, soft_sphere
from extrecon.fourier.shells import Shells, power
from extrecon.maps import HalfMap
from extrecon.regularizer import Context, Setting, settings_for

BOX, PIXEL = 40, 2.5
Volume = npt.NDArray[np.float32]


def blob(seed: int = 1, noise: float = 0.02) -> Volume:
    rng = np.random.default_rng(seed)
    inside = soft_sphere(BOX, 11.0)
    grain = scipy.ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 1.3)
    return (inside * (1 + 4 * grain) + noise * rng.standard_normal(inside.shape)).astype(np.float32)


def context(given: dict[str, Setting] | None = None, **known: Any) -> Context:
    return Context(settings_for(LocalDeblur.parameters, given or {}, "localdeblur"), **known)


def fsc() -> npt.NDArray[np.float64]:
    return np.clip(1.2 - np.arange(BOX // 2 + 1) / 12, 0, 1)


def test_shells_without_weight_stay_as_they_are() -> None:
    plain, other = blob(1), blob(2)
    weights = np.zeros(BOX // 2 + 1)
    assert np.allclose(blended(other, plain, weights, cpu(1)), plain, atol=1e-5)


def test_full_weight_takes_the_deblurred_map_onto_the_plain_scale() -> None:
    plain = blob()
    result = blended(7 * plain, plain, np.ones(BOX // 2 + 1), cpu(1))
    assert np.allclose(result, plain, atol=1e-5)


def test_no_shell_gains_power() -> None:
    plain, other = blob(1), blob(2)
    shells = Shells(BOX, cpu(1))
    result = blended(other, plain, np.full(BOX // 2 + 1, 0.7), cpu(1))
    gain = power(shells.spectrum(result), shells) / power(shells.spectrum(plain), shells)
    assert (gain < 1 + 1e-5).all()


def test_weight_is_the_share_of_noise() -> None:
    given = np.array([1.0, 0.9, 0.2, -0.1])
    assert np.allclose(weights_from_fsc(given, 4), [0, 0.1, 0.8, 1])
    assert np.allclose(weights_from_fsc(None, 3), 0.5)
    assert np.allclose(weights_from_fsc(np.zeros(3), 3), 0.5)


def test_solvent_becomes_its_own_mean() -> None:
    mask = soft_sphere(BOX, 11.0)
    density = blob() + np.float32(3)
    flat = flattened(density, mask)
    assert np.array_equal(flat[mask == 1], density[mask == 1])
    assert np.allclose(flat[mask == 0], density[mask < 0.01].mean(), atol=1e-5)
    assert flat.dtype == density.dtype


def test_refinement_has_defaults_of_its_own() -> None:
    half_map = HalfMap(blob(), PIXEL)
    mask = particle_mask(half_map, 90.0)
    alone = LocalDeblur().regularize(half_map, context(mask=mask, half_map_fsc=fsc()))
    assert (alone.facts["blend"], alone.facts["solvent"]) == ("none", "kept")
    known: dict[str, Any] = {"mask": mask, "half_map_fsc": fsc(), "inside_refinement": True}
    inside = LocalDeblur().regularize(half_map, context(**known))
    assert inside.facts["rounds"] <= 3
    assert inside.facts["solvent"] == "flattened"
    assert inside.facts["blend"] == pytest.approx(1 - fsc(), abs=1e-4)
    same = LocalDeblur().regularize(half_map, context({"rounds": 50, "blend": "none", "solvent": "keep"}, **known))
    assert np.array_equal(same.density, alone.density)


def test_flattening_without_a_mask_is_refused() -> None:
    resolution = np.where(soft_sphere(BOX, 11.0) > 0.5, 8.0, 0.0)
    with pytest.raises(RegularizerError, match="--mask"):
        LocalDeblur().regularize(
            HalfMap(blob(), PIXEL), context({"solvent": "flatten"}, local_resolution=resolution)
        )


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
