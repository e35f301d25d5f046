"""The regularizer in its place: calls from RELION, two maps on the command line, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.errors import RegularizerError
from extrecon.maps import HalfMap, read_map, write_map
from extrecon.regularizer import Context, load
from extrecon_regularizers.two_half.regularizer import TwoHalf, TwoHalfSettings
from tests.jobs import BOX, PIXEL_SIZE, JobFiles, blobs, write_job
from tests.regularizers.treated import treated
from tests.regularizers.two_half.fields import CPU, Volume, white

PROGRAMS = Path(sys.executable).parent


def noisy(half: int, box: int = BOX) -> Volume:
    return blobs(box) + np.float32(0.05) * white(half, box)


def context(other: Volume | None, **settings: Any) -> Context[TwoHalfSettings]:
    known = None if other is None else HalfMap(other, PIXEL_SIZE)
    return Context(TwoHalfSettings(**settings), other_half=known, compute=CPU)


def likeness(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_it_is_installed_and_declares_what_it_needs() -> None:
    found = load("two-half")
    assert isinstance(found, TwoHalf)
    assert found.needs_both_halves


def test_it_tells_what_each_band_was_like() -> None:
    said: list[float] = []
    told = TwoHalf().regularize(
        HalfMap(noisy(1, 48), PIXEL_SIZE),
        Context(
            TwoHalfSettings(),
            other_half=HalfMap(noisy(2, 48), PIXEL_SIZE),
            compute=CPU,
            progress=lambda _, fraction: said.append(fraction),
        ),
    )
    bands = len(told.facts["band_angstrom"])
    assert [len(told.facts[key]) for key in told.facts] == [bands] * 4
    assert told.facts["band_angstrom"][0] == pytest.approx(48 * PIXEL_SIZE / 3)
    assert told.facts["band_noise_share"][-2] == pytest.approx(1.0, abs=0.1)
    assert told.facts["band_power_kept"][-2] < 0.05
    assert told.facts["band_power_kept"][2] > 0.9
    assert {name: curve.shape for name, curve in told.curves.items()} == {
        "half-map": (2, bands),
        "noise in it": (2, bands),
    }
    assert said == sorted(said)
    assert said[-1] == 1.0
    assert likeness(told.density, blobs(48)) > likeness(noisy(1, 48), blobs(48)) + 0.1


def test_settings_change_what_they_name() -> None:
    half, other = HalfMap(noisy(1, 32), PIXEL_SIZE), noisy(2, 32)
    plain = TwoHalf().regularize(half, context(other)).density
    for settings in ({"window": 0.5}, {"noise": "sphere"}, {"noise": "local"}):
        assert not np.allclose(TwoHalf().regularize(half, context(other, **settings)).density, plain, atol=1e-6)


def test_one_map_is_not_enough() -> None:
    with pytest.raises(RegularizerError, match="give both of them"):
        TwoHalf().regularize(HalfMap(noisy(1), PIXEL_SIZE), context(None))


def test_halves_of_two_sizes_are_refused() -> None:
    with pytest.raises(RegularizerError, match="is 24³ voxels, the other 32³"):
        TwoHalf().regularize(HalfMap(noisy(1), PIXEL_SIZE), context(noisy(2, 32)))


def test_masked_halves_are_told() -> None:
    inside = blobs(32) > 0.05
    given = context(noisy(2, 32) * inside)
    found = TwoHalf().regularize(HalfMap(noisy(1, 32) * inside, PIXEL_SIZE), given)
    assert [told for told in found.warnings if "was masked" in told]
    assert not TwoHalf().regularize(HalfMap(noisy(1, 32), PIXEL_SIZE), context(noisy(2, 32))).warnings


@pytest.mark.parametrize("box", [8, 10, 16, 24, 27])
def test_a_small_box_works(box: int) -> None:
    density = treated(TwoHalf(), HalfMap(noisy(1, box), PIXEL_SIZE), context(noisy(2, box)))[0].density
    assert density.shape == (box,) * 3
    assert likeness(density, blobs(box)) > 0.8


def hook(files: JobFiles) -> subprocess.Popen[str]:
    words = [str(PROGRAMS / "extrecon-hook"), "--regularizer", "two-half", "--daemon", "off", "--gate-wait", "0"]
    words += ["--half-wait", "60", "--threads", "1", files.star.name]
    return subprocess.Popen(words, cwd=files.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_both_halves_of_an_iteration_are_filtered(tmp_path: Path) -> None:
    files = [write_job(tmp_path, name=f"run_it005_half{h}_class001", density=noisy(h)) for h in (1, 2)]
    for process in [hook(each) for each in files]:
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert "regularized with two-half" in told
    for each in files:
        record = json.loads(each.record.read_text())
        assert record["outcome"] == "regularized"
        assert record["other_half"]["waited_seconds"] >= 0
        assert record["safeguards"]["largest_amplitude_gain"] <= 1.0001
        assert not list(tmp_path.glob("*_out.star"))
        result, plain = (read_map(path).density for path in (each.result, each.beside("_plain.mrc")))
        assert likeness(result, blobs()) > likeness(plain, blobs()) + 0.02


def test_two_maps_on_the_command_line(tmp_path: Path) -> None:
    for half in (1, 2):
        write_map(tmp_path / f"half{half}.mrc", HalfMap(noisy(half, 32), PIXEL_SIZE))
    words = [
        str(PROGRAMS / "extrecon"),
        "regularize",
        "half1.mrc",
        "half2.mrc",
        "--regularizer",
        "two-half",
        "-o",
        "out",
        "--no-pictures",
    ]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for half in (1, 2):
        assert likeness(read_map(tmp_path / f"out/half{half}_two-half.mrc").density, blobs(32)) > 0.9
