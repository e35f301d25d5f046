"""MonoRes against the reference program and against its steps written out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
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
from extrecon_regularizers.localdeblur.method import MonoRes, automatic_worst
from extrecon_regularizers.localdeblur.monores import MonoResSettings, label_voxels, local_resolution, sweep_levels
from extrecon_regularizers.localdeblur.noise import noise_level, sorted_value
from tests.regularizers.xmipp_case import XmippCase

Volume = npt.NDArray[np.float64]


def context(given: dict[str, Setting] | None = None, **known: Any) -> Context:
    return Context(read_settings(MonoRes.settings_type, given or {}, "monores"), **{"compute": cpu(1), **known})


def axes(box: int) -> tuple[Volume, Volume, Volume]:
    k = scipy.fft.fftfreq(box)
    k[np.isclose(k, -0.5)] = 0.5
    return k[:, None, None], k[None, :, None], (np.arange(box // 2 + 1) / box)[None, None]


def smoothed(volume: Volume, sigma: float) -> Volume:
    u2 = sum(k * k for k in axes(len(volume)))
    gain = np.exp(-(np.pi**2) * sigma**2 * u2)
    return np.asarray(scipy.fft.irfftn(scipy.fft.rfftn(volume) * gain, s=volume.shape))


def amplitude(volume: Volume, f: float | None) -> Volume:
    k = axes(len(volume))
    u = np.sqrt(sum(c * c for c in k))
    spectrum = scipy.fft.rfftn(volume)
    if f is not None:
        edge = 0.5 * (1 + np.cos(np.pi * (u - f) / 0.02))
        spectrum = spectrum * np.where(u >= f, 1.0, np.where(u >= f - 0.02, edge, 0.0))
    total = scipy.fft.irfftn(spectrum, s=volume.shape) ** 2
    inverse = np.divide(1, u, out=np.zeros_like(u), where=u > 0)
    for c in k:
        total += scipy.fft.irfftn(-1j * c * inverse * spectrum, s=volume.shape) ** 2
    length = np.sqrt(total)
    if f is None:
        return np.asarray(length)
    width = min(0.02, 0.5 - f)
    edge = 0.5 * (1 + np.cos(np.pi * (u - f) / max(width, 1e-12)))
    gain = np.where(u <= f, 1.0, np.where(u <= f + width, edge, 0.0))
    return np.asarray(scipy.fft.irfftn(scipy.fft.rfftn(length) * gain, s=volume.shape))


def reference(
    volume: Volume, mask: Volume, pixel: float, settings: MonoResSettings, noise: Volume | None = None
) -> Volume:
    """The reference program's steps on the whole box in double precision; the level at Nyquist is kept."""
    labels, _ = label_voxels(volume, mask)
    if settings.refine_mask:
        broad = smoothed(amplitude(volume, None), 4.0)
        solvent = np.sort(broad[labels == 0])
        labels[(labels == 1) & (broad < solvent[int(0.95 * len(solvent))])] = 0
    signal, solvent_voxels = labels == 1, (labels == 0 if noise is None else labels >= 0)
    live, fails, result = signal.copy(), np.zeros(labels.shape), np.zeros(labels.shape)
    used: list[float] = []
    critical, largest = NormalDist().inv_cdf(settings.significance), 0.0
    for shell, level in sweep_levels(len(volume), pixel, settings):
        if live.sum() / signal.sum() < 0.025:
            break
        used.append(level)
        a = amplitude(volume, shell / len(volume))
        n = np.sort((a if noise is None else amplitude(noise, shell / len(volume)))[solvent_voxels])
        threshold = n.mean() + critical * n.std() if settings.gaussian else n[int(len(n) * settings.significance)]
        s = a[live]
        passed, failed = live & (a > threshold), live & (a <= threshold)
        result[passed], fails[passed] = level, 0
        fails[failed] += 1
        done = failed & (fails >= 2)
        result[done] = used[max(len(used) - 3, 0)]
        live &= ~done
        largest = max(largest, s.mean())
        z = (s.mean() - n.mean()) / np.sqrt(s.var() / s.size + n.var() / n.size)
        if s.mean() < 0.001 * largest or z < critical:
            break
    inside = np.sort(result[signal])
    smooth = smoothed(np.where(signal, result, inside[len(inside) // 2]), 3.0)
    return np.where(signal, np.minimum(result, smooth), 0.0)


def ball(box: int, pixel: float, seed: int = 0) -> tuple[Volume, Volume]:
    """A ball, fine on the left and coarse on the right, in noise; and its mask."""
    rng = np.random.default_rng(seed)
    axis = np.arange(box) - box // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2.0)
    inside = radius < 0.3 * box
    spectrum = scipy.fft.rfftn(np.random.default_rng(99).standard_normal(radius.shape) * inside)
    u = np.sqrt(sum(k * k for k in axes(box)))
    fine, coarse = (
        scipy.fft.irfftn(spectrum * (u < pixel / limit), s=radius.shape) for limit in (2.6 * pixel, 5 * pixel)
    )
    signal = np.where(axis < 0, fine / fine.std(), coarse / coarse.std()) * inside
    volume = signal + 0.4 * rng.standard_normal(radius.shape)
    return volume.astype(np.float32).astype(np.float64), inside.astype(np.float64)


AS_GIVEN_TO_XMIPP: dict[str, Setting] = {
    "variant": "xmipp",
    "min-resolution": 4.0,
    "max-resolution": 20.0,
    "step": 0.25,
}


def test_agrees_with_the_reference_program() -> None:
    case = XmippCase()
    result = MonoRes().estimate(case.half_map, context(AS_GIVEN_TO_XMIPP, mask=case.mask))
    assert np.mean(np.abs(result.resolution_angstrom - case.resolution) > 1e-3) == 0.0
    np.testing.assert_array_equal(result.maps["refined_mask"], case.refined_mask)
    kept = MonoRes().estimate(case.half_map, context(AS_GIVEN_TO_XMIPP | {"variant": "standard"}, mask=case.mask))
    assert case.resolution[case.resolution > 0].min() > 4.2
    assert kept.resolution_angstrom[kept.resolution_angstrom > 0].min() == pytest.approx(4.0)


def test_agrees_with_the_reference_program_on_two_halves(shared_fixtures: Path) -> None:
    folder = shared_fixtures / "xmipp-b64"
    first, other, mask = (read_map(folder / f"{name}.mrc") for name in ("half1", "half2", "mask"))
    result = MonoRes().estimate(first, context(AS_GIVEN_TO_XMIPP, mask=mask.density, other_half=other))
    outputs = folder / "monores-half"
    expected = read_map(outputs / "monoresResolutionMap.mrc").density
    assert np.mean(np.abs(result.resolution_angstrom - expected) > 1e-3) == 0.0
    np.testing.assert_array_equal(result.maps["refined_mask"], read_map(outputs / "refinedMask.mrc").density)


@pytest.mark.parametrize(
    ("box", "pixel", "options"),
    [
        (40, 2.0, {}),
        (41, 1.5, {}),
        (41, 1.5, {"significance": 0.8, "step_angstrom": 0.6}),
        (40, 2.0, {"gaussian": True}),
        (40, 2.0, {"refine_mask": False, "significance": 0.99}),
        (40, 2.0, {"finest_angstrom": 6.0}),
    ],
)
@pytest.mark.parametrize("halves", [False, True])
def test_agrees_with_the_steps(box: int, pixel: float, options: dict[str, Any], halves: bool) -> None:
    settings = MonoResSettings(10 * pixel, **options)
    volume, mask = ball(box, pixel)
    noise = None
    if halves:
        other, _ = ball(box, pixel, seed=1)
        volume, noise = (volume + other) / 2, (volume - other) / 2
    expected = reference(volume, mask, pixel, settings, noise)
    sweep = local_resolution(volume, mask, pixel, settings, compute=cpu(2), noise=noise)
    assert len(np.unique(expected.round(3))) > 3
    assert np.mean(np.abs(sweep.resolution_angstrom - expected) > 1e-3) <= 1e-4


def test_finds_which_half_is_finer() -> None:
    volume, mask = ball(48, 2.0)
    result = MonoRes().estimate(HalfMap(volume.astype(np.float32), 2.0), context(mask=mask))
    resolution = result.resolution_angstrom
    left, right = resolution[:, :, :21], resolution[:, :, 27:]
    assert np.median(left[left > 0]) < 6.0 < np.median(right[right > 0])
    assert result.facts["quartiles_angstrom"][0] < result.facts["quartiles_angstrom"][2]


def test_pure_noise_has_no_resolution() -> None:
    rng = np.random.default_rng(5)
    _, mask = ball(40, 2.0)
    half_map = HalfMap(rng.standard_normal((40, 40, 40)).astype(np.float32), 2.0)
    try:
        result = MonoRes().estimate(half_map, context(mask=mask))
    except RegularizerError as error:
        assert "stands out" in str(error)  # noqa: PT017  either answer is right
    else:
        assert np.count_nonzero(result.resolution_angstrom) < 0.1 * mask.sum()


def test_same_on_torch() -> None:
    volume, mask = ball(40, 2.0)
    first, second = (
        local_resolution(volume, mask, 2.0, MonoResSettings(20.0), compute=c).resolution_angstrom
        for c in (cpu(1), TorchCompute("cpu"))
    )
    assert np.mean(np.abs(first - second) > 1e-3) <= 1e-4


def test_no_level_below_nyquist_at_odd_boxes() -> None:
    levels = [level for _, level in sweep_levels(41, 2.0, MonoResSettings(20.0))]
    assert min(levels) >= 4.0
    assert all(a > b for a, b in pairwise(levels))
    assert min(level for _, level in sweep_levels(40, 2.0, MonoResSettings(20.0))) == pytest.approx(4.0)


def test_masked_corners_are_ignored() -> None:
    volume, mask = ball(40, 2.0)
    axis = np.arange(40) - 20
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2.0)
    labels, limit = label_voxels(np.where(radius < 16, volume, 0.0), mask)
    assert limit == 15
    assert np.all(labels[radius >= 15] == -1)
    assert label_voxels(volume, mask)[1] == 20


@pytest.mark.parametrize("size", [1, 10, 30_000, 200_000])
def test_order_statistic(size: int) -> None:
    rng = np.random.default_rng(size)
    for values in (rng.standard_normal(size), np.sort(rng.standard_normal(size)), np.ones(size)):
        for share in (0.0, 0.5, 0.95, 1.0):
            rank = int(share * size)
            assert sorted_value(values, rank) == np.sort(values)[min(rank, size - 1)]


def test_gaussian_threshold() -> None:
    values = np.random.default_rng(0).standard_normal(50_000)
    level = noise_level(values, 0.95, True)
    assert level.threshold == pytest.approx(values.mean() + 1.6448536 * values.std(), rel=1e-6)
    assert level.z_score(values) == pytest.approx(0.0, abs=1e-6)


def test_automatic_start() -> None:
    small = HalfMap(np.zeros((64, 64, 64), np.float32), 2.0)
    assert automatic_worst(small, context()) == 20.0
    tiny = HalfMap(np.zeros((16, 16, 16), np.float32), 3.0)
    assert automatic_worst(tiny, context()) == 12.0
    fsc = np.where(np.arange(33) < 8, 1.0, 0.0)
    assert automatic_worst(small, context(half_map_fsc=fsc)) == pytest.approx(32.0)


def test_errors_are_sentences() -> None:
    half_map = HalfMap(np.ones((8, 8, 8), np.float32), 2.0)
    with pytest.raises(RegularizerError, match="needs a mask"):
        MonoRes().estimate(half_map, context())
    with pytest.raises(RegularizerError, match=r"7×7×7 voxels, but the map is 8×8×8"):
        MonoRes().estimate(half_map, context(mask=np.ones((7, 7, 7))))
    with pytest.raises(RegularizerError, match="no voxel above"):
        MonoRes().estimate(half_map, context(mask=np.zeros((8, 8, 8))))
    other = HalfMap(np.ones((6, 6, 6), np.float32), 2.0)
    with pytest.raises(RegularizerError, match="half2 is 6×6×6"):
        MonoRes().estimate(half_map, context(mask=np.ones((8, 8, 8)), other_half=other))
    with pytest.raises(RegularizerError, match="not worse than the finest"):
        MonoRes().estimate(half_map, context({"max-resolution": 3.0}, mask=np.ones((8, 8, 8))))
