"""LocalDeblur against the reference program, against its formulas written out, and against the Wiener solution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import TorchCompute, cpu
from extrecon.maps import HalfMap, read_map
from extrecon.regularizer import Context
from extrecon.settings import Setting, read_settings
from extrecon_regularizers.localdeblur.bands import centres
from extrecon_regularizers.localdeblur.deblur import DeblurSettings, bank_for, deblur_xmipp
from extrecon_regularizers.localdeblur.external import usable_resolution
from extrecon_regularizers.localdeblur.paper import deblur_paper
from extrecon_regularizers.localdeblur.regularizer import LocalDeblur
from tests.regularizers.xmipp_case import XmippCase

Volume = npt.NDArray[np.float64]


def frequency(box: int) -> Volume:
    k = np.abs(scipy.fft.fftfreq(box))
    return np.asarray(np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + (np.arange(box // 2 + 1) / box) ** 2))


def reference(
    volume: Volume, resolution: Volume, pixel: float, k: float = 0.025, step_size: float = 0.0, rounds: int = 50
) -> tuple[Volume, float, int]:
    """The reference program's steps, band by band on the whole box in double precision."""
    box, nyquist = len(volume), 2 * pixel
    worst = resolution.max()
    resolution = np.where((resolution > 0) & (resolution < nyquist), nyquist, resolution)
    inside = resolution >= nyquist
    sigma = volume[~inside].std(ddof=1)
    u, bands = frequency(box), []
    last, centre = None, nyquist
    while centre < worst + 2:
        if (shell := int(np.floor(box * pixel / centre + 0.5))) != last:
            bands.append(centre)
            last = shell
        centre += 0.2

    def h(v: Volume) -> Volume:
        spectrum, total, weight = scipy.fft.rfftn(v), np.zeros(v.shape), np.zeros(v.shape)
        for band in bands:
            omega, width = pixel / band, pixel / (band - 0.2) - pixel / band
            gain = np.where(np.abs(u - omega) <= width, 0.5 + 0.5 * np.cos(np.pi * (u - omega) / width), 0)
            w = np.exp(-k * (band - resolution) ** 2)
            total += w * scipy.fft.irfftn(spectrum * gain, s=v.shape)
            weight += w
        return np.where(inside, total / weight, 0.0)

    sharp, size_before, ratio_before = volume, 0.0, 1.0
    for done in range(1, rounds + 1):
        blurred = h(sharp)
        size = float(np.linalg.norm(blurred))
        step_size = step_size or float(np.linalg.norm(volume)) / size / 12
        sharp = np.maximum(sharp + step_size * h(volume - blurred), -4 * sigma)
        ratio = 100 * size_before / size
        if done > 2 and ratio - ratio_before < 1:
            break
        size_before, ratio_before = size, ratio
    return sharp, step_size, done


def regions(box: int, pixel: float, noise: float = 0.1) -> tuple[Volume, Volume]:
    """A ball whose left half is finer than its right half, in noise; and its local resolution."""
    rng = np.random.default_rng(box)
    axis = np.arange(box) - box // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2.0)
    inside = radius < 0.3 * box
    resolution = np.where(inside, np.where(axis < 0, 2.2 * pixel, 5 * pixel) + 0.05 * radius, 0.0)
    resolution[inside & (radius < 2)] = 1.5 * pixel  # finer than Nyquist: counts as at Nyquist
    spectrum = scipy.fft.rfftn(rng.standard_normal(radius.shape) * inside)
    signal = scipy.fft.irfftn(spectrum * np.exp(-30 * frequency(box) ** 2), s=radius.shape)
    volume = signal / signal.std() + noise * rng.standard_normal(radius.shape)
    return volume.astype(np.float32).astype(np.float64), resolution.astype(np.float32).astype(np.float64)


def context(given: dict[str, Setting] | None = None, **known: Any) -> Context:
    return Context(
        read_settings(LocalDeblur.settings_type, given or {}, "localdeblur"), **{"compute": cpu(1), **known}
    )


def distance(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b))


def test_agrees_with_the_reference_program() -> None:
    case = XmippCase()
    result = LocalDeblur().regularize(case.half_map, context(local_resolution=case.resolution))
    assert distance(result.density[case.planes], case.sharp) < 1e-6
    assert result.facts["lambda"] == pytest.approx(4.697932, rel=1e-6)
    assert result.facts["rounds"] == 8
    assert result.maps["local_resolution"] is not None


@pytest.mark.parametrize(
    ("box", "pixel", "options"),
    [
        (32, 2.0, {}),
        (33, 1.3, {}),
        (33, 1.3, {"k": 0.01}),
        (32, 2.0, {"k": 0.2, "rounds": 6}),
        (35, 2.0, {"step_size": 25.0}),
        (32, 2.0, {"rounds": 1}),
        (32, 2.0, {"rounds": 2}),
    ],
)
def test_agrees_with_the_formulas(box: int, pixel: float, options: dict[str, Any]) -> None:
    volume, resolution = regions(box, pixel)
    expected, step_size, rounds = reference(volume, resolution, pixel, **options)
    settings = DeblurSettings(
        options.get("k", 0.025), step_size=options.get("step_size", 0.0), rounds=options.get("rounds", 50)
    )
    sigma = float(volume[resolution == 0].std(ddof=1))
    result = deblur_xmipp(volume, resolution, pixel, sigma, settings, compute=cpu(2))
    assert distance(result.density, expected) < 3e-6
    assert result.step_size == pytest.approx(step_size, rel=1e-5)
    assert result.rounds == rounds
    assert distance(expected, volume) > 0.01


def test_same_on_torch() -> None:
    volume, resolution = regions(32, 2.0)
    results = [
        deblur_xmipp(volume, resolution, 2.0, 0.1, DeblurSettings(), compute=c).density
        for c in (cpu(1), TorchCompute("cpu"))
    ]
    assert distance(results[1], results[0]) < 1e-5


def test_centres_of_one_shell_are_kept_once() -> None:
    kept = centres(10.0, 2.0, 64)
    shells = np.floor(64 * 2.0 / kept + 0.5)
    assert kept[0] == 4.0
    assert len(set(shells)) == len(shells)
    assert kept[-1] < 12.0


def dense_operator(volume: Volume, resolution: Volume, pixel: float) -> Volume:
    """H as a matrix: what it makes of every delta."""
    bank = bank_for(cpu(1), resolution, pixel, DeblurSettings(dtype=np.float64), whole_box=True)
    deltas = np.eye(volume.size).reshape(-1, *volume.shape)
    return np.stack([bank.apply(delta).ravel() for delta in deltas], axis=1)


def test_paper_variant_converges_to_the_wiener_solution() -> None:
    box, pixel, snr = 8, 2.0, 40.0
    volume, resolution = regions(box, pixel)
    h = dense_operator(volume, resolution, pixel)
    observed = volume.ravel()
    wiener = np.linalg.solve(h.T @ h + np.eye(observed.size) / snr, h.T @ observed)
    bank = bank_for(cpu(1), resolution, pixel, DeblurSettings(dtype=np.float64), whole_box=True)
    result = deblur_paper(volume, bank, snr, rounds=600, compute=cpu(1), stop_percent=0.0)
    assert distance(result.density.ravel(), wiener) < 1e-6
    assert np.linalg.norm(wiener) > 1e-3 * np.linalg.norm(observed)


def test_paper_variant_takes_the_published_step_and_stop() -> None:
    volume, resolution = regions(24, 2.0)
    bank = bank_for(cpu(1), resolution, 2.0, DeblurSettings(dtype=np.float64), whole_box=True)
    result = deblur_paper(volume, bank, 1e6, rounds=500, compute=cpu(1))
    blurred = bank.apply(volume)
    assert result.step_size == pytest.approx(np.linalg.norm(volume) / np.linalg.norm(blurred) / 10)
    assert result.facts["last_change_percent"] < 1.0
    once = deblur_paper(volume, bank, 50.0, rounds=1, compute=cpu(1), step_size=3.0).density
    np.testing.assert_allclose(
        once, volume + 3.0 * (bank.adjoint(volume - bank.apply(volume)) - volume / 50.0), atol=1e-12
    )


def test_paper_variant_does_not_diverge_in_noise() -> None:
    volume, resolution = regions(24, 2.0, noise=3.0)
    half_map = HalfMap(volume.astype(np.float32), 2.0)
    result = LocalDeblur().regularize(half_map, context({"variant": "paper"}, local_resolution=resolution))
    assert np.linalg.norm(result.density) < 2 * np.linalg.norm(volume)
    assert any("λ was lowered" in warning for warning in result.warnings)


@pytest.mark.parametrize("variant", ["xmipp", "paper"])
def test_measures_its_own_resolution_from_one_half(variant: str, shared_fixtures: Path) -> None:
    folder = shared_fixtures / "xmipp-b64"
    half1, half2 = read_map(folder / "half1.mrc"), read_map(folder / "half2.mrc")
    mask = read_map(folder / "mask.mrc").density
    reports: list[float] = []
    alone = LocalDeblur().regularize(
        half1, context({"variant": variant}, mask=mask, progress=lambda _, done: reports.append(done))
    )
    beside = LocalDeblur().regularize(half1, context({"variant": variant}, mask=mask, other_half=half2))
    np.testing.assert_array_equal(alone.density, beside.density)
    resolution = alone.maps["local_resolution"]
    assert np.all(resolution[mask < 0.5] == 0)
    truth = read_map(folder / "truth_res.mrc").density
    assert np.median(resolution[truth == 4.0]) < np.median(resolution[truth == 8.0])
    assert alone.facts["monores"]["levels"] > 10
    assert len(alone.facts["local_resolution_quartiles_angstrom"]) == 3
    assert min(reports) == 0.0
    assert max(reports) == 1.0


def test_without_a_mask_it_says_what_to_give() -> None:
    half_map = HalfMap(np.zeros((8, 8, 8), np.float32), 2.0)
    with pytest.raises(RegularizerError, match="give --mask"):
        LocalDeblur().regularize(half_map, context())


class TestMapsOfOtherPrograms:
    volume, resolution = regions(24, 2.0)
    half_map = HalfMap(volume.astype(np.float32), 2.0)
    mask = (resolution > 0).astype(np.float32)

    def deblurred(self, resolution: Volume, mask: npt.NDArray[np.float32] | None = None) -> npt.NDArray[Any]:
        return LocalDeblur().regularize(self.half_map, context(local_resolution=resolution, mask=mask)).density

    def test_background_100_or_none_change_nothing(self) -> None:
        expected = self.deblurred(self.resolution)
        resmap = np.where(self.resolution > 0, self.resolution, 100.0)
        relion = np.where(self.resolution > 0, self.resolution, 7.0)
        np.testing.assert_array_equal(self.deblurred(resmap), expected)
        np.testing.assert_array_equal(self.deblurred(relion, self.mask), expected)

    def test_no_background_needs_a_mask(self) -> None:
        with pytest.raises(RegularizerError, match="value at every voxel"):
            self.deblurred(np.full(self.resolution.shape, 7.0))

    def test_other_box(self) -> None:
        with pytest.raises(RegularizerError, match=r"23×24×24 voxels, but the map is 24×24×24"):
            usable_resolution(self.resolution[1:], self.half_map, None)

    @pytest.mark.parametrize("scale", [0.1, 0.02, 9.0])
    def test_other_units(self, scale: float) -> None:
        with pytest.raises(RegularizerError, match="convert it to Å"):
            usable_resolution(self.resolution * scale, self.half_map, self.mask)

    def test_negative(self) -> None:
        with pytest.raises(RegularizerError, match="negative or infinite"):
            usable_resolution(-self.resolution, self.half_map, self.mask)
