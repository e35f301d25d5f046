"""How sharp a map looks: what `validate --sharpening` writes, and that `regularize` looks, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.errors import UsageError
from extrecon.maps import HalfMap, read_map, write_map
from tests.molecules import helix_bundle, spectrum_of

BOX, PIXEL = 40, 1.5
COARSE = str(Path(__file__).parents[2] / "scripts" / "demo_data" / "half1.mrc")


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two half-maps of helices in a ball, in some noise."""
    rng = np.random.default_rng(4)
    density = np.fft.irfftn(spectrum_of(helix_bundle(18.0), BOX, PIXEL), s=(BOX,) * 3, axes=(0, 1, 2))
    folder = tmp_path_factory.mktemp("halves")
    for half in (1, 2):
        noisy = density + rng.normal(0.0, 0.1 * density.std(), density.shape)
        write_map(folder / f"half{half}.mrc", HalfMap(noisy.astype(np.float32), PIXEL))
    return [str(folder / f"half{half}.mrc") for half in (1, 2)]


def extrecon(*words: str) -> None:
    ran = CliRunner().invoke(app, [*words], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output


def validated(folder: Path, *words: str) -> dict[str, Any]:
    extrecon("validate", *words, "-o", str(folder))
    assert (folder / "validation.png").stat().st_size > 10_000
    assert "its signal allows" in (folder / "validation.html").read_text("utf-8")
    found: dict[str, Any] = json.loads((folder / "validation.json").read_text("utf-8"))["sharpening"]
    return found


def test_half_maps_alone_tell_which_b_factor_would_suit_their_mean(halves: list[str], tmp_path: Path) -> None:
    found = validated(tmp_path / "out", *halves, "--sharpening")
    assert found["methods"] == {"look": "deepres", "signal": "monores"}
    assert found["swept"][0]["b_factor"] == 0
    assert sum(found["map"]["counts"]) > 1000
    assert len(found["edges_angstrom"]) == len(found["map"]["counts"]) + 1


def test_a_map_is_judged_by_its_half_maps_or_by_one_unsharpened_map(halves: list[str], tmp_path: Path) -> None:
    first, second = (read_map(Path(half)) for half in halves)
    mean = str(tmp_path / "mean.mrc")
    write_map(Path(mean), first.mean_with(second))
    by_halves = validated(tmp_path / "a", mean, *(f"--unsharpened={half}" for half in halves))
    alone = validated(tmp_path / "b", *halves, "--sharpening")
    for part in ("map", "low_passed", "signal"):
        assert by_halves[part] == alone[part]
    by_itself = validated(tmp_path / "c", mean, "--unsharpened", mean)
    looks = by_itself["map"]["percentile_angstrom"]
    assert looks == pytest.approx(alone["map"]["percentile_angstrom"])
    assert by_itself["signal"] != alone["signal"]


def test_the_wilson_fit_ends_at_the_resolution_that_the_unsharpened_map_tells(
    halves: list[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    maps = [read_map(Path(half)) for half in halves]
    noisier = [each.with_density(each.density + rng.normal(0, 4 * each.density.std(), (BOX,) * 3)) for each in maps]
    paths = [str(tmp_path / f"{name}.mrc") for name in ("first", "second", "mean")]
    for path, each in zip(paths, [*noisier, noisier[0].mean_with(noisier[1])], strict=True):
        write_map(Path(path), each)
    found = validated(tmp_path / "out", paths[2], *(f"--unsharpened={half}" for half in paths[:2]))
    told = json.loads((tmp_path / "out" / "validation.json").read_text("utf-8"))
    assert told["guinier"]["wilson"]["high_angstrom"] == pytest.approx(found["low_pass_angstrom"])
    assert found["low_pass_angstrom"] > 2.05 * PIXEL  # or it would end at Nyquist


def test_what_there_is_nothing_to_compare_with_is_refused(halves: list[str], tmp_path: Path) -> None:
    for words, told in (
        (["--sharpening"], "needs half-maps, or the map before sharpening"),
        (["--unsharpened", halves[1]] * 3, "given 3 times"),
    ):
        with pytest.raises(UsageError, match=told):
            extrecon("validate", halves[0], *words, "-o", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_of_coarse_voxels_it_is_told_that_nothing_can_be_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    extrecon("validate", COARSE, "--unsharpened", COARSE, "-o", str(out))
    found = json.loads((out / "validation.json").read_text("utf-8"))
    assert "sharpening" not in found
    assert any("nothing finer than 10.8 Å" in told for told in found["warnings"])


@pytest.mark.parametrize("is_checked", [True, False])
def test_regularize_tells_how_fine_its_result_looks(halves: list[str], tmp_path: Path, *, is_checked: bool) -> None:
    words = [] if is_checked else ["--no-check-sharpening"]
    extrecon("regularize", *halves, "--regularizer", "identity", "--no-pictures", "-o", str(tmp_path), *words)
    record = json.loads((tmp_path / "half1_identity_extrecon.json").read_text("utf-8"))
    assert ("sharpening" in record["seconds"]) is is_checked
    told = {"looks_angstrom", "signal_angstrom", "is_oversharpened"} if is_checked else set()
    assert set(record["sharpening"]) == told


def test_regularize_warns_of_a_result_that_looks_too_fine(halves: list[str], plugins: Path, tmp_path: Path) -> None:
    words = ["--regularizer", "sharpens", "--no-pictures", "-o", str(tmp_path)]
    extrecon("regularize", *halves, *words)
    record = json.loads((tmp_path / "half1_sharpens_extrecon.json").read_text("utf-8"))
    assert record["sharpening"]["is_oversharpened"]
    assert any(warning.startswith("oversharpened: ") for warning in record["warnings"])
