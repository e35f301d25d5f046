"""What extrecon does with every regularizer's density before the safeguards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage

from extrecon.call.treatment import (
    Wishes,
    blended,
    flattened,
    held_to_agreement,
    last_agreed_shell,
    split_settings,
    treat,
    weights_from_fsc,
)
from extrecon.errors import RegularizerError, UsageError
from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import soft_sphere
from extrecon.fourier.shells import Shells, fourier_shell_correlation, power
from extrecon.maps import HalfMap
from extrecon.regularizer import Context, Regularized, Regularizer, Treatment
from extrecon.settings import NoSettings, setting

BOX, PIXEL = 40, 2.5
Volume = npt.NDArray[np.float32]
HALF_MAP_FSC = np.clip(1.2 - np.arange(BOX // 2 + 1) / 12, 0, 1)


def blob(seed: int = 1, noise: float = 0.02) -> Volume:
    rng = np.random.default_rng(seed)
    inside = soft_sphere(BOX, 11.0)
    grain = scipy.ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 1.3)
    return (inside * (1 + 4 * grain) + noise * rng.standard_normal(inside.shape)).astype(np.float32)


def context(**known: Any) -> Context:
    return Context(NoSettings(), **{"half_map_fsc": HALF_MAP_FSC, "compute": cpu(1), **known})


# --- the three steps by themselves


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


def test_agreement_by_chance_does_not_count() -> None:
    shells = Shells(64, cpu(1))
    pairs = np.random.default_rng(3).standard_normal((2, 64, 64, 64), dtype=np.float32)
    noise = fourier_shell_correlation(shells.spectrum(pairs[0]), shells.spectrum(pairs[1]), shells)
    assert last_agreed_shell(noise) < 8
    falling = np.exp(-np.arange(33) / 6.0)
    assert last_agreed_shell(falling) == 21  # exp(-22 / 6) = 0.02556 is under 2 / √(4π 22²) = 0.02564
    assert last_agreed_shell(np.ones(33)) == 32


def test_beyond_the_agreement_the_half_map_stands_or_nothing() -> None:
    plain, other, last = blob(1), blob(2), 9
    shells = Shells(BOX, cpu(1))
    theirs = shells.spectrum(plain)
    for beyond in (plain, None):
        found = shells.spectrum(held_to_agreement(other, beyond, last, cpu(1)))
        ours = shells.spectrum(other)
        agreement = fourier_shell_correlation(found, ours, shells), fourier_shell_correlation(found, theirs, shells)
        assert agreement[0][1 : last - 1] == pytest.approx(1, abs=1e-5)
        if beyond is None:
            assert power(found, shells)[last + 3 :].max() < 1e-9 * power(ours, shells)[1:].max()
        else:
            assert agreement[1][last + 3 :] == pytest.approx(1, abs=1e-5)
            assert (power(found, shells) <= power(theirs, shells) * (1 + 1e-5))[last + 3 :].all()


# --- together


def test_nothing_is_done_unless_declared() -> None:
    half_map, other = HalfMap(blob(1), PIXEL), blob(2)
    density, told, _ = treat(Regularized(other), half_map, context(), Treatment())
    assert density is other
    assert told == {"blend": "none", "solvent": "kept"}


def test_a_density_of_any_unit_is_brought_to_the_half_maps() -> None:
    half_map = HalfMap(blob(1), PIXEL)
    for unit in (1e-3, 1.0, 1e8):
        density, _, _ = treat(Regularized(unit * half_map.density), half_map, context(), Treatment("all"))
        assert np.allclose(density, half_map.density, atol=1e-5)


def test_confidence_weights_each_voxel() -> None:
    half_map, other = HalfMap(blob(1), PIXEL), blob(2)
    sure, unsure = np.zeros_like(other), np.full_like(other, 1e9)
    whole, _, _ = treat(Regularized(other), half_map, context(), Treatment("all"))
    found, _, _ = treat(Regularized(other, expected_error=sure), half_map, context(), Treatment("confidence"))
    trusted = np.square(other) > 1e-10
    assert np.allclose(found[trusted], whole[trusted], atol=1e-5)
    found, _, _ = treat(Regularized(other, expected_error=unsure), half_map, context(), Treatment("confidence"))
    assert np.allclose(found, half_map.density, atol=1e-5)
    with pytest.raises(RegularizerError, match="how much it errs"):
        treat(Regularized(other), half_map, context(), Treatment("confidence"))


def test_confidence_is_the_share_of_the_squares() -> None:
    found = Regularized(np.array([1.0, 1.0, 0.0]), expected_error=np.array([0.0, 1.0, 2.0])).confidence()
    assert found == pytest.approx([1.0, 0.5, 0.0])
    assert Regularized(np.ones(3)).confidence() is None


def test_the_solvent_is_flattened_outside_the_nearest_mask() -> None:
    half_map, own, given = HalfMap(blob(), PIXEL), soft_sphere(BOX, 8.0), soft_sphere(BOX, 13.0)
    for regularized, known, origin, mask in (
        (Regularized(half_map.density, mask=own), context(mask=given), "the regularizer's", own),
        (Regularized(half_map.density), context(mask=given), "the call's", given),
    ):
        density, told, used = treat(regularized, half_map, known, Treatment(solvent="flatten"))
        assert told["mask"] == origin
        assert used is mask
        assert np.array_equal(density, flattened(half_map.density, mask))
    _, told, _ = treat(Regularized(half_map.density), half_map, context(), Treatment(solvent="flatten"))
    assert told["mask"] == "made from the regularizer's density"
    assert 0.02 < told["mask_share"] < 0.5


def test_an_fsc_of_the_regularizers_own_serves_where_none_is_known() -> None:
    half_map, other, fsc = HalfMap(blob(1), PIXEL), blob(2), np.ones(BOX // 2 + 1)
    fsc[10:] = 0
    treatment = Treatment("fsc", beyond="half-map")
    _, told, _ = treat(Regularized(other, half_map_fsc=fsc), half_map, context(half_map_fsc=None), treatment)
    assert told["weights"] == [*[0.0] * 10, *[1.0] * (BOX // 2 - 9)]
    assert told["last_agreed_shell"] == 9
    unknown = treat(Regularized(other), half_map, context(half_map_fsc=None), treatment)[1]
    assert set(unknown["weights"]) == {0.5}
    assert "last_agreed_shell" not in unknown


# --- what the user may say


@dataclass(frozen=True)
class _Own:
    sigma: float = setting(0.7, "Width.")


class _Plugin(Regularizer[_Own]):
    name: ClassVar[str] = "mine"
    settings_type: ClassVar[type[Any]] = _Own

    def regularize(self, half_map: HalfMap, context: Context[_Own]) -> Regularized:
        raise NotImplementedError


def test_settings_are_shared_out() -> None:
    wishes, own = split_settings(_Plugin(), {"sigma": "2", "blend": "fsc"})
    assert own == _Own(2.0)
    assert wishes == Wishes(blend="fsc")
    declared = Treatment("all", "flatten", "half-map")
    assert wishes.over(declared) == replace(declared, blend="fsc")
    assert Wishes().over(declared) == declared


def test_a_name_of_neither_is_refused_with_all_names() -> None:
    told = r"has no parameter 'blendd'\. Did you mean 'blend'\? It has: sigma, blend, solvent"
    with pytest.raises(UsageError, match=told):
        split_settings(_Plugin(), {"blendd": "fsc"})
    with pytest.raises(UsageError, match="choose one of auto, flatten, keep"):
        split_settings(_Plugin(), {"solvent": "drain"})


def test_a_plugin_may_not_take_extrecons_own_names() -> None:
    @dataclass(frozen=True)
    class Taken:
        blend: float = setting(0.5, "Share.")

    class Grabs(_Plugin):
        settings_type: ClassVar[type[Any]] = Taken

    with pytest.raises(RegularizerError, match="'blend', which is extrecon's own"):
        split_settings(Grabs(), {})
