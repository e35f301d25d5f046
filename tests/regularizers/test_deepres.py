"""DeepRes: what the network must not see, what it must, and what it was trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
import torch
from training.deepres_network import TrainedNetwork
from training.deepres_samples import Look, raised_cosine
from training.sources import EVALUATION, RELATIVES, VALIDATION

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import TorchCompute, cpu
from extrecon.fourier.masks import soft_sphere
from extrecon.maps import HalfMap
from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, Context, available
from extrecon.settings import Setting, read_settings
from extrecon.validate import sharpening
from extrecon_regularizers.deepres.apply import apply_network
from extrecon_regularizers.deepres.method import COARSEST_NYQUIST_ANGSTROM, DeepRes
from extrecon_regularizers.deepres.network import ResolutionNetwork, count_weights
from extrecon_regularizers.deepres.units import from_unit, to_unit
from extrecon_regularizers.deepres.weights import load
from extrecon_regularizers.deepres.windows import BANDS, Inputs, look_at
from extrecon_regularizers.localdeblur.regularizer import LocalDeblur
from extrecon_regularizers.networks.weights import folder
from tests.molecules import helix_bundle, spectrum_of

Volume = npt.NDArray[np.float32]
BOX = 48
MASK = soft_sphere(BOX, 14.0)
INSIDE = MASK > 0.5


def low_passed(resolution: float, seed: int = 3, box: int = BOX) -> Volume:
    """Helices in a ball, on voxels of 1 Å, low-passed as in training."""
    axis = scipy.fft.fftfreq(box), scipy.fft.fftfreq(box), scipy.fft.rfftfreq(box)
    z, y, x = np.meshgrid(*axis, indexing="ij")
    frequency = np.sqrt(z**2 + y**2 + x**2)
    gain = np.interp(frequency, np.linspace(0, 0.5, 501), raised_cosine(resolution), right=0.0)
    spectrum = spectrum_of(helix_bundle(14.0, seed), box, 1.0)
    return np.asarray(scipy.fft.irfftn(spectrum * gain, s=(box,) * 3), dtype=np.float32)


@pytest.fixture(scope="module")
def map_5() -> Volume:
    return low_passed(5.0)


def told(volume: Volume, given: dict[str, Setting] | None = None, **known: Any) -> Volume:
    settings = read_settings(DeepRes.settings_type, {"voxel": "1.0", **(given or {})}, "deepres")
    context = Context(settings, **{"compute": cpu(1), "mask": MASK, **known})
    return np.asarray(DeepRes().estimate(HalfMap(volume, 1.0), context).resolution_angstrom, dtype=np.float32)


def test_it_is_found_by_its_name() -> None:
    assert "deepres" in available(LOCAL_RESOLUTION_GROUP)


def test_finer_maps_look_finer(map_5: Volume) -> None:
    fine, middle, coarse = (float(np.median(told(v)[INSIDE])) for v in (low_passed(3.0), map_5, low_passed(8.0)))
    # Bare helices are unlike any molecule that it has seen.
    assert [fine, middle, coarse] == pytest.approx([3.0, 5.0, 8.0], rel=0.14)


def test_grey_scale_tells_nothing(map_5: Volume) -> None:
    assert np.allclose(told(-3e-4 * -map_5 + 7e-4, {}), told(map_5), atol=0.02)


def test_nothing_is_told_outside_the_mask(map_5: Volume) -> None:
    answer = told(map_5)
    assert np.all(answer[~INSIDE] == 0.0)
    assert np.all(answer[INSIDE] >= 2.0)
    assert np.all(answer[INSIDE] <= 16.5)


def test_turned_maps_look_alike(map_5: Volume) -> None:
    """The 24 rotations that keep the grid, a few of them; handedness stays."""
    odd = np.zeros((BOX + 1,) * 3, dtype=np.float32)
    odd[:BOX, :BOX, :BOX] = map_5
    turns = [(p, s) for p in permutations(range(3)) for s in product((1, -1), repeat=3)]
    proper = [(p, s) for p, s in turns if np.linalg.det(np.eye(3)[list(p)] * np.array(s)) > 0]
    assert len(proper) == 24
    mask = soft_sphere(BOX + 1, 14.0)
    upright = told(odd, mask=mask)
    apart = []
    for order, signs in proper[::7]:
        flips = tuple(axis for axis in range(3) if signs[axis] < 0)
        answer = told(np.flip(odd.transpose(order), flips).copy(), mask=mask)
        back = np.flip(answer, flips).transpose(np.argsort(order))
        apart.append(np.abs(back - upright)[mask > 0.5].mean())
    assert max(apart) < 0.35


def test_two_halves_are_taken_together(map_5: Volume) -> None:
    noise = np.random.default_rng(2).normal(0, map_5.std(), map_5.shape).astype(np.float32)
    both = told(map_5 + noise, other_half=HalfMap(map_5 - noise, 1.0))
    assert np.allclose(both, told(map_5), atol=0.02)


def test_slabs_tell_what_the_whole_does(map_5: Volume) -> None:
    loaded = load()
    shown = look_at(map_5)
    inputs = Inputs(np.tile(shown.windows, (1, 3, 1, 1)), np.tile(shown.bands, (1, 3, 1, 1)))
    whole = apply_network(loaded, inputs, 1.0, cpu(1))[0]
    slabs = apply_network(loaded, inputs, 1.0, cpu(1), most_voxels=64 * BOX**2)[0]
    assert np.median(np.abs(slabs - whole)) < 0.01
    assert np.abs(slabs - whole).max() < 0.3


def test_a_device_tells_the_same(map_5: Volume) -> None:
    assert np.allclose(told(map_5), told(map_5, compute=TorchCompute("cpu")), atol=1e-3)


def test_the_error_is_told_beside_it(map_5: Volume) -> None:
    settings = read_settings(DeepRes.settings_type, {"voxel": "1.0"}, "deepres")
    answer = DeepRes().estimate(HalfMap(map_5, 1.0), Context(settings, mask=MASK, compute=cpu(1)))
    error = answer.maps["local_resolution_error"][INSIDE]
    assert np.all(error > 0.0)
    assert answer.facts["median_error_angstrom"] == pytest.approx(float(np.median(error)), abs=1e-3)
    assert answer.facts["weights_sha256"] == load().network.weights.sha256


def test_a_missing_mask_is_refused(map_5: Volume) -> None:
    with pytest.raises(RegularizerError, match="needs a mask"):
        told(map_5, mask=None)


def test_another_box_is_refused(map_5: Volume) -> None:
    with pytest.raises(RegularizerError, match="mask is 32×32×32 voxels, but the map is 48×48×48"):
        told(map_5, mask=soft_sphere(32, 8.0))


def test_voxels_on_which_it_knows_nothing_are_refused(map_5: Volume) -> None:
    settings = read_settings(DeepRes.settings_type, {}, "deepres")
    context = Context(settings, compute=cpu(1), mask=MASK)
    with pytest.raises(RegularizerError, match=r"Voxels of 5\.4 Å show nothing finer than 10\.8 Å.*voxels of 4 Å"):
        DeepRes().estimate(HalfMap(map_5, 5.4), context)
    # What judges a map by both methods asks before the other one has worked.
    assert COARSEST_NYQUIST_ANGSTROM == sharpening.COARSEST_NYQUIST_ANGSTROM


def test_a_constant_map_is_refused() -> None:
    with pytest.raises(RegularizerError, match="constant"):
        told(np.ones((BOX,) * 3, dtype=np.float32))


def test_other_weights_are_refused(tmp_path: Path, map_5: Volume) -> None:
    with pytest.raises(RegularizerError, match="cannot be read"):
        told(map_5, {"weights": str(tmp_path / "none.safetensors")})
    with pytest.raises(RegularizerError, match="no weights of DeepRes"):
        told(map_5, {"weights": str(folder() / "denoiser.safetensors")})


def test_the_network_is_small() -> None:
    assert count_weights(ResolutionNetwork()) < 3_000_000


@pytest.mark.parametrize("unit", ["logarithm", "angstrom", "frequency"])
def test_units_undo_each_other(unit: str) -> None:
    voxels = torch.tensor([2.5, 4.0, 7.0, 13.0])
    back, error = from_unit(to_unit(voxels, unit), torch.zeros(4), unit)
    assert torch.allclose(back, voxels, rtol=1e-5)
    assert bool((error > 0).all())


def test_normalisation_folds_away() -> None:
    torch.manual_seed(1)
    trained = TrainedNetwork((16, 32, 64), (2, 2, 1))
    torch.nn.init.normal_(trained.leave.weight)
    shown = torch.randn(2, 2, 16, 16, 16), torch.randn(2, BANDS, 8, 8, 8), torch.ones(2, 1)
    for _ in range(3):
        trained(*shown)
    wanted = trained.eval()(*shown)
    folded = trained.folded()(*shown)
    assert float(wanted[0].detach().std()) > 0.1
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(wanted, folded, strict=True))


def test_a_low_passed_map_looks_like_its_resolution() -> None:
    look = Look(1.0)
    assert [look.of(raised_cosine(r)) for r in (2.5, 4.0, 12.0)] == pytest.approx([2.5, 4.0, 12.0], abs=0.01)


def test_blurred_maps_look_coarser_and_sharpened_ones_finer() -> None:
    look, frequency = Look(1.0), np.linspace(0, 0.5, 501)
    looks = [look.of(raised_cosine(4.0) * np.exp(-b * frequency**2 / 4)) for b in range(-100, 201, 50)]
    assert looks == sorted(looks)
    assert looks[0] < 3.5
    assert looks[-1] > 6.0


def test_no_evaluation_or_validation_structure_was_trained_on() -> None:
    trained_on = json.loads((folder() / "deepres_training_set.json").read_text())
    used = set(trained_on["used"])
    assert len(used) > 50
    assert not used & {*EVALUATION, *RELATIVES, *VALIDATION}
    assert not used & set(trained_on["left_out"])
    left_out_before = json.loads((folder() / "denoiser_training_set.json").read_text())["left_out"]
    assert used & set(left_out_before) <= set(trained_on["rna_alone"])


def test_localdeblur_can_be_guided_by_it(map_5: Volume) -> None:
    noise = np.random.default_rng(3).normal(0, 0.1 * map_5.std(), map_5.shape).astype(np.float32)
    given: dict[str, Setting] = {"local-resolution": "deepres", "rounds": 2}
    settings = read_settings(LocalDeblur.settings_type, given, "localdeblur")
    context = Context(settings, mask=MASK, compute=cpu(1))
    done = LocalDeblur().regularize(HalfMap(map_5 + noise, 1.0), context)
    assert done.facts["local_resolution"] == "deepres"
    assert done.facts["deepres"]["weights_sha256"] == load().network.weights.sha256
    assert np.isfinite(done.density).all()
    with pytest.raises(RegularizerError, match="outside refinement"):
        LocalDeblur().regularize(HalfMap(map_5, 1.0), replace(context, inside_refinement=True))
