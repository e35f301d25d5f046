"""Profile scaling against LocScale's output, its definition written out, and maps whose answer is known."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
import scipy.ndimage
from numpy.lib.stride_tricks import sliding_window_view

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon.fourier.filter_bank import bounding_block
from extrecon.fourier.lattice import Lattice
from extrecon.fourier.masks import soft_sphere
from extrecon.fourier.shells import Shells, fourier_shell_correlation
from extrecon.maps import HalfMap, read_map, write_map
from extrecon.regularizer import Context, Regularized, load
from extrecon.settings import NoSettings, Setting, read_settings
from extrecon_regularizers.profile import model_free
from extrecon_regularizers.profile.average import KINDS, average_profile
from extrecon_regularizers.profile.confidence import confidence_map
from extrecon_regularizers.profile.model_map import model_map
from extrecon_regularizers.profile.regularizer import Profile
from extrecon_regularizers.profile.scaling import Padded
from extrecon_regularizers.profile.windows import Window, ball, cube, local_profiles, size_for
from tests.regularizers.treated import treated

Volume = npt.NDArray[np.float32]
BOX, PIXEL = 40, 2.0

AVERAGE_PROFILES = files("extrecon_regularizers.profile") / "average_profiles.json"


def particle(seed: int = 1, box: int = BOX) -> Volume:
    rng = np.random.default_rng(seed)
    grain = scipy.ndimage.gaussian_filter(rng.standard_normal((box,) * 3), 1.0)
    return np.asarray(soft_sphere(box, 0.25 * box) * (1 + 5 * grain), dtype=np.float32)


def noisy(seed: int = 1, noise: float = 0.05) -> Volume:
    rng = np.random.default_rng(seed + 100)
    return (particle(seed) + noise * rng.standard_normal((BOX,) * 3)).astype(np.float32)


def blurred(density: Volume, b_factor: float, pixel: float = PIXEL) -> Volume:
    k = scipy.fft.fftfreq(len(density), pixel)
    squared = k[:, None, None] ** 2 + k[:, None] ** 2 + scipy.fft.rfftfreq(len(density), pixel) ** 2
    spectrum = scipy.fft.rfftn(density) * np.exp(-b_factor * squared / 4)
    return np.asarray(scipy.fft.irfftn(spectrum, s=density.shape), dtype=np.float32)


MASK = soft_sphere(BOX, 0.3 * BOX)


def run(density: Volume, given: dict[str, Setting] | None = None, **known: Any) -> Regularized:
    context = Context(read_settings(Profile.settings_type, given or {}, "profile"), **({"mask": MASK} | known))
    return treated(Profile(), HalfMap(density, PIXEL), context)[0]


def direct_profiles(volume: Volume, window: Window) -> npt.NDArray[np.float64]:
    """The profile of every window by its own transform."""
    taper = window.taper[:, None, None] * window.taper[:, None] * window.taper
    spectra = scipy.fft.fftn(sliding_window_view(volume, (window.size,) * 3) * taper, axes=(-3, -2, -1))
    i = np.arange(window.size)
    if window.octant:
        radius = np.sqrt(i[:, None, None] ** 2 + i[:, None] ** 2 + i**2)
        shell = np.where((i <= window.half) & (radius < window.half + 1), np.floor(radius), -1)
    else:
        i = np.minimum(i, window.size - i)
        shell = np.floor(np.sqrt(i[:, None, None] ** 2 + i[:, None] ** 2 + i**2) + 0.5)
    return np.stack([np.abs(spectra)[..., shell == s].mean(axis=-1) for s in range(window.half + 1)], axis=-1)


@pytest.fixture(params=["cpu1", "cpu2", "torch"])
def compute(request: pytest.FixtureRequest) -> Compute:
    return TorchCompute("cpu") if request.param == "torch" else cpu(int(request.param[-1]))


@pytest.mark.parametrize("window", [cube(8), ball(8)], ids=["cube", "ball"])
def test_shared_products_give_each_windows_own_profile(window: Window, compute: Compute) -> None:
    volume = np.random.default_rng(0).standard_normal((17, 15, 18)).astype(np.float32)
    expected = direct_profiles(volume, window)
    inside = np.zeros((64,) * 3, bool)
    inside[: expected.shape[0], : expected.shape[1], : expected.shape[2]] = True
    lattice = Lattice(inside, bounding_block(inside), 1)
    corner = (-window.half,) * 3
    found = local_profiles(compute.to_device(volume), corner, lattice, window, compute)
    np.testing.assert_allclose(found, expected.reshape(-1, window.half + 1), rtol=2e-5, atol=1e-5)


def test_agrees_with_locscale(shared_fixtures: Path) -> None:
    folder = shared_fixtures / "locscale-96"
    half, mask = read_map(folder / "half1.mrc"), read_map(folder / "mask.mrc").density
    expected = read_map(folder / "locscale_half1_mm.mrc").density
    given: dict[str, Setting] = {"variant": "locscale", "stride": 1, "reference": str(folder / "ref_B50.mrc")}
    context = Context(read_settings(Profile.settings_type, given, "profile"), mask=mask)
    found = Profile().regularize(half, context).density
    inside = mask >= 0.5
    assert np.linalg.norm((found - expected)[inside]) < 1e-5 * np.linalg.norm(expected[inside])
    np.testing.assert_array_equal(found[~inside], 0)


@pytest.mark.parametrize("variant", ["sphere", "locscale"])
def test_its_own_reference_changes_nothing(variant: str, tmp_path: Path) -> None:
    density = noisy()
    write_map(tmp_path / "same.mrc", HalfMap(density, PIXEL))
    found = run(density, {"reference": str(tmp_path / "same.mrc"), "variant": variant}).density
    inside = MASK >= 0.5
    np.testing.assert_allclose(found[inside], density[inside], atol=2e-5 * np.abs(density).max())


@pytest.mark.parametrize("variant", ["sphere", "locscale"])
def test_a_blurred_map_gets_its_amplitudes_back(variant: str, tmp_path: Path) -> None:
    truth = particle()
    write_map(tmp_path / "truth.mrc", HalfMap(truth, PIXEL))
    dull = blurred(truth, 150.0)
    found = run(dull, {"reference": str(tmp_path / "truth.mrc"), "variant": variant}).density
    inside = MASK >= 0.5

    def distance(density: npt.NDArray[Any]) -> float:
        return float(np.linalg.norm((density - truth)[inside]) / np.linalg.norm(truth[inside]))

    assert distance(found) < 0.5 * distance(dull)


def test_round_windows_do_not_lift_noise_to_the_reference(tmp_path: Path) -> None:
    box = 64
    truth = particle(box=box)
    write_map(tmp_path / "truth.mrc", HalfMap(truth, PIXEL))
    noise = np.random.default_rng(7).standard_normal(truth.shape)
    density = (blurred(truth, 150.0) + 0.2 * noise).astype(np.float32)
    mask = soft_sphere(box, 0.27 * box)
    inside = mask >= 0.5

    def likeness(variant: str) -> float:
        given: dict[str, Setting] = {"reference": str(tmp_path / "truth.mrc"), "variant": variant}
        return float(np.corrcoef(run(density, given, mask=mask).density[inside], truth[inside])[0, 1])

    assert 1 - likeness("sphere") < 0.75 * (1 - likeness("locscale"))


@pytest.mark.parametrize("inside_refinement", [False, True])
def test_noise_alone_gains_no_agreement(inside_refinement: bool) -> None:
    shells = Shells(BOX, cpu(1))
    halves = [
        np.random.default_rng(seed).standard_normal((BOX,) * 3).astype(np.float32) * MASK for seed in (11, 12)
    ]
    done = [run(half, inside_refinement=inside_refinement).density for half in halves]
    before, after = (
        fourier_shell_correlation(shells.spectrum(first), shells.spectrum(second), shells)
        for first, second in (halves, done)
    )
    spread = 1 / np.sqrt(np.maximum(2 * np.pi * np.arange(BOX // 2 + 1) ** 2, 1))
    assert np.all(np.abs(after - before)[4:] < 4 * spread[4:] + 0.05)
    assert abs(float((after - before)[4:].mean())) < 0.02


def test_grey_scale_and_place_pass_through(tmp_path: Path) -> None:
    density = noisy()
    found = run(density).density
    brighter = run(50 * density).density / 50
    np.testing.assert_allclose(brighter, found, atol=1e-3 * np.abs(found).max())
    turned = run(np.ascontiguousarray(density.transpose(2, 1, 0)), {"stride": 1}).density
    here = run(density, {"stride": 1}).density
    np.testing.assert_allclose(turned.transpose(2, 1, 0), here, atol=1e-3 * np.abs(here).max())


def test_the_lattice_stays_near_exact_windows() -> None:
    density = noisy()
    exact, quick = run(density, {"stride": 1}).density, run(density).density
    assert np.linalg.norm(quick - exact) < 0.02 * np.linalg.norm(exact)


def test_b_factors_are_found() -> None:
    """Windows whose profile is the average one with known B factors and noise."""
    size, pixel = 18, 1.5
    frequency = np.arange(size // 2 + 1) / (size * pixel)
    true_b = np.linspace(40, 250, 300)
    noise = np.full(len(frequency), 0.02)
    pure = average_profile("mixed", np.maximum(frequency, frequency[1])) * np.exp(
        -true_b[:, None] * frequency**2 / 4
    )
    profiles = np.sqrt(pure**2 + noise**2).astype(np.float32)
    plan = model_free.plan("mixed", len(frequency), size * pixel, noise, 100_000.0, 3.0, 0.0)
    local = model_free.fit_b_factors(profiles, plan)
    np.testing.assert_allclose(local.b_factor, true_b, rtol=0.02, atol=2)
    assert local.r_squared.min() > 0.99
    np.testing.assert_allclose(
        model_free.factors(profiles, local, plan)[0][:, 2] * profiles[:, 2] / (pure[:, 2] / profiles[:, 2]) ** 2,
        pure[:, 2] * np.exp((true_b - plan.target_b) * frequency[2] ** 2 / 4) * profiles[:, 2] / pure[:, 2],
        rtol=0.05,
    )


def test_uncertain_b_factors_are_drawn_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    frequency = np.arange(10) / 27.0
    pure = average_profile("mixed", np.maximum(frequency, frequency[1])) * np.exp(-100 * frequency**2 / 4)
    profiles = (pure * np.exp(0.3 * rng.standard_normal((400, 10)))).astype(np.float32)
    plan = model_free.plan("mixed", 10, 27.0, np.zeros(10), 100_000.0, 3.0, 0.0)
    local = model_free.fit_b_factors(profiles, plan)
    assert local.b_factor.std() < 45  # by themselves the fits scatter by some 60
    assert local.whole == pytest.approx(100, abs=15)


@pytest.mark.parametrize("kind", KINDS)
def test_average_profiles_fall_and_wave_as_proteins_do(kind: str) -> None:
    frequency = np.linspace(0.02, 0.45, 300)
    profile = average_profile(kind, frequency)
    assert np.all(np.isfinite(profile) & (profile > 0))
    assert profile[0] > 1.2 > profile[-1]
    told = json.loads(
        (files("extrecon_regularizers.profile") / "average_profiles.json").read_text(encoding="utf-8")
    )
    steps = np.diff(told["frequency_per_angstrom"])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)


@pytest.mark.parametrize("kind", ["helix", "sheet", "mixed"])
def test_proteins_have_their_wave(kind: str) -> None:
    """Secondary structure and packing make a maximum near 4.7 Å, with a minimum before it."""
    resolution = np.linspace(10.0, 3.8, 400)
    profile = np.log(average_profile(kind, 1 / resolution))
    about = (resolution < 5.5) & (resolution > 4.2)
    top = float(resolution[about][profile[about].argmax()])
    coarser = resolution > top
    bottom = float(resolution[coarser][profile[coarser].argmin()])
    assert 4.5 < top < 5.0
    assert 5.5 < bottom < 7.5


def test_no_evaluation_structure_is_in_the_average() -> None:
    told = json.loads(
        (files("extrecon_regularizers.profile") / "average_profiles.json").read_text(encoding="utf-8")
    )
    used = {name.partition("_")[0].upper() for kind in told["kinds"].values() for name in kind["structures"]}
    kept = "6MSM 3J7H 6BDF 3J5P 6Y5A 6Z6U 6ZU5 4V8R 7PBL 6QT9 1YAR 1RYP 5LE5 1JZ8".split()  # noqa: SIM905  ids
    assert len(used) > 5
    assert not used & set(kept)


def test_a_reference_inside_refinement_needs_leave(tmp_path: Path) -> None:
    write_map(tmp_path / "truth.mrc", HalfMap(particle(), PIXEL))
    given: dict[str, Setting] = {"reference": str(tmp_path / "truth.mrc")}
    with pytest.raises(RegularizerError, match="allow-reference=true"):
        run(noisy(), given, inside_refinement=True)
    facts = run(noisy(), {**given, "allow-reference": True}, inside_refinement=True).facts
    assert facts["reference_used"] is True


def test_inside_refinement_good_shells_stay() -> None:
    density = noisy()
    sure = run(density, inside_refinement=True, half_map_fsc=np.ones(BOX // 2 + 1)).density
    inside = MASK == 1
    np.testing.assert_allclose(sure[inside], density[inside], atol=1e-4 * np.abs(density).max())


@pytest.mark.parametrize(
    ("density", "given", "known", "told"),
    [
        (noisy(), {"window": 100.0}, {}, "is 50 voxels, but the map is 40³"),
        (noisy(), {}, {"mask": np.zeros((BOX,) * 3, np.float32)}, "no voxel of 0.5"),
        (noisy(), {}, {"mask": None}, "give --mask"),
        (noisy(), {"reference": "a.mrc", "model": "b.pdb"}, {}, "not both"),
        (np.zeros((BOX,) * 3, np.float32), {"mask": "fdr"}, {}, "rim is constant"),
    ],
)
def test_errors_are_sentences(density: Volume, given: dict[str, Setting], known: dict[str, Any], told: str) -> None:
    with pytest.raises(RegularizerError, match=told):
        run(density, given, **known)


def test_a_reference_of_another_box_is_refused(tmp_path: Path) -> None:
    write_map(tmp_path / "small.mrc", HalfMap(particle(box=32), PIXEL))
    with pytest.raises(RegularizerError, match="is 32³ voxels, but the map is 40³"):
        run(noisy(), {"reference": str(tmp_path / "small.mrc")})


def test_confidence_holds_the_false_discovery_rate() -> None:
    rng = np.random.default_rng(5)
    signal = soft_sphere(BOX, 8.0) > 0.5
    density = (3.0 * signal + rng.standard_normal((BOX,) * 3)).astype(np.float32)
    found = confidence_map(density) >= 0.99
    assert found.sum() > 20
    assert (found & ~signal).sum() <= 0.03 * found.sum() + 2
    assert confidence_map(rng.standard_normal((BOX,) * 3).astype(np.float32)).max() < 0.99


def test_the_confidence_mask_serves_by_itself() -> None:
    density = noisy()
    found, _ = treated(load("fdr-mask"), HalfMap(density, PIXEL), Context(NoSettings()))
    mask, core = found.maps["mask"], found.maps["confidence"] >= 0.99
    assert np.all(mask[core] == 1)
    assert mask.min() == 0
    np.testing.assert_array_equal(found.density[core], density[core])
    assert np.ptp(found.density[mask == 0]) < 1e-6
    noise = np.random.default_rng(1).standard_normal((BOX,) * 3).astype(np.float32)
    with pytest.raises(RegularizerError, match="nothing rises above the noise"):
        load("fdr-mask").regularize(HalfMap(noise, PIXEL), Context(NoSettings()))


def test_without_any_mask_the_confidence_map_serves() -> None:
    density = noisy()
    result = run(density, mask_is_made=True)
    assert "confidence" in result.maps
    assert np.all(result.density[result.maps["confidence"] < 0.99] == 0)


ATOM = "ATOM      1  C   ALA A   1    {:8.3f}{:8.3f}{:8.3f}  1.00 30.00           C\n"


def test_a_model_stands_where_the_header_says(tmp_path: Path) -> None:
    (tmp_path / "atom.pdb").write_text(ATOM.format(31.0, 36.0, 41.0) + "END\n")
    frame = HalfMap(np.zeros((24,) * 3, np.float32), 2.0, (5.0, 6.0, 7.0), (1, 2, 3))
    density = model_map(tmp_path / "atom.pdb", frame)
    # x: (31 − 5) / 2 − 1 = 12; y: (36 − 6) / 2 − 2 = 13; z: (41 − 7) / 2 − 3 = 14
    assert density.argmax() == np.ravel_multi_index((14, 13, 12), density.shape)


def test_a_model_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "atom.pdb").write_text(ATOM.format(500.0, 0.0, 0.0) + "END\n")
    with pytest.raises(RegularizerError, match="no atom lies in the map"):
        model_map(tmp_path / "atom.pdb", HalfMap(np.zeros((24,) * 3, np.float32), 2.0))


def test_window_sizes_are_even() -> None:
    assert [size_for(pixel, 25.0) for pixel in (1.5, 1.0, 2.5, 20.0)] == [18, 26, 10, 4]


def test_padding_is_the_mean_outside() -> None:
    density = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    inside = np.zeros(density.shape, bool)
    inside[0, 5, 5] = True
    padded = Padded.around(density, inside, Lattice(inside, bounding_block(inside), 1), 2, cpu(1))
    assert padded.corner == (-2, 3, 3)
    np.testing.assert_allclose(padded.volume[:2], density[~inside].mean())
    np.testing.assert_array_equal(padded.volume[2:], density[:2, 3:7, 3:7])
