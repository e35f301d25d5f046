"""Arms with RELION options of their own, the mask that a comparison makes, and the arm to beat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.compare import baseline, report
from extrecon.compare.recipe import Recipe
from extrecon.compare.relion_words import replaced, with_own_maps
from extrecon.errors import ExtreconError
from extrecon.maps.mrc import read_map, write_volume
from tests.compare.test_compare import refused
from tests.compare.test_report import score

MASKED = ("--arm", "masked=plain", "--arm", "plain")


@pytest.fixture
def own_mask(data: Path) -> Path:
    """A mask that is not the truth's, in a folder of its own."""
    folder = data.parent / "mine"
    folder.mkdir()
    given = read_map(data / "mask.mrc")
    write_volume(folder / "m.mrc", (given.density > 0.5).astype(np.float32), given.pixel_size_angstrom)
    return folder / "m.mrc"


def compare(data: Path, *words: str, code: int = 0) -> str:
    """Run a comparison in this process, which saves a start, and return what it told."""
    ran = CliRunner().invoke(app, ["compare", str(data), *words])
    error = ran.exception
    assert (error.exit_code if isinstance(error, ExtreconError) else ran.exit_code) == code, ran.output
    return " ".join(f"{ran.output} {error or ''}".split())


def command_of(data: Path, run: str) -> list[str]:
    log = (data / "compare" / run / "log.txt").read_text()
    return next(line.removeprefix("WORDS ") for line in log.splitlines() if line.startswith("WORDS ")).split()


def scores_of(data: Path, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((data / "compare" / run / "score.json").read_text())
    return found


def test_an_option_given_again_replaces_the_recipes_own() -> None:
    words = Recipe(more=("--pad", "2")).words(
        "run", 100.0, "C1", 1, ctf=False, arm_words=["--pad", "3", "--maskedge", "6"]
    )
    assert words.count("--pad") == 1
    assert words[words.index("--pad") + 1] == "3"
    assert words[words.index("--maskedge") + 1] == "6"
    assert words[-1] == "--external_reconstruct"
    assert replaced(["--a", "1", "2", "--b"], ["--a", "-3"]) == ["--b", "--a", "-3"]


@pytest.mark.parametrize(
    ("command", "version", "stays"),
    [
        ("relion_external_reconstruct", "5.0.1", False),
        ("relion_external_reconstruct", "4.0", False),
        ("relion_external_reconstruct", "3.1.3", True),
        ("relion_external_reconstruct", "unknown", True),
        ("extrecon-hook --regularizer identity", "5.0.1", True),
    ],
)
def test_from_relion_4_on_a_plain_arm_has_the_maps_that_relion_makes_by_itself(
    command: str, version: str, *, stays: bool
) -> None:
    words = ["relion_refine_mpi", "--pad", "1", "--external_reconstruct"]
    assert with_own_maps(words, command, version) == words[: None if stays else -1]


def test_only_the_plain_arm_leaves_the_external_call_out(data: Path, fake_relion: Path) -> None:
    compare(data, "--arm", "plain", "--arm", "other=true", "--seeds", "1")
    plain, other = (command_of(data, run) for run in ("plain_1", "other_1"))
    assert "--external_reconstruct" not in plain
    assert "--external_reconstruct" in other
    compare(data, "--arm", "third=true", "--seeds", "1")
    report = json.loads((data / "compare" / "comparison.json").read_text())
    assert set(report["arms"]) == {"plain", "other", "third"}


def test_only_the_named_arm_gets_its_options(
    data: Path, own_mask: Path, fake_relion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_mask.parent)
    options = "masked=--solvent_mask m.mrc --solvent_correct_fsc --offset_step 2"
    told = compare(data, *MASKED, "--relion", options, "--seeds", "1")
    masked, plain = (command_of(data, run) for run in ("masked_1", "plain_1"))
    # RELION starts in the data's folder, so it must be given the whole path.
    assert masked[masked.index("--solvent_mask") + 1] == str(own_mask.resolve())
    assert "--solvent_correct_fsc" in masked
    assert masked[masked.index("--offset_step") + 1] == "2"
    assert "--solvent_mask" not in plain
    assert plain[plain.index("--offset_step") + 1] == "1"
    assert "The arm to beat is" in told
    page = (data / "compare" / "comparison.md").read_text()
    assert "masked gives RELION `--solvent_mask m.mrc --solvent_correct_fsc --offset_step 2`" in page


def test_a_mask_of_the_data_is_found_and_another_content_is_another_run(
    data: Path, own_mask: Path, fake_relion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_mask.parent)
    words = ("--arm", "perfect=plain", "--seeds", "1", "--relion")
    compare(data, *words, "perfect=--solvent_mask mask.mrc --solvent_correct_fsc")
    given = command_of(data, "perfect_1")
    assert given[given.index("--solvent_mask") + 1] == str((data / "mask.mrc").resolve())
    own = "perfect=--solvent_mask m.mrc --solvent_correct_fsc"
    assert "relion_command was" in compare(data, *words, own, code=2)
    compare(data, *words, own, "--redo")
    mask = read_map(own_mask)
    write_volume(own_mask, np.roll(mask.density, 1, 0), mask.pixel_size_angstrom)
    assert "masks was" in compare(data, *words, own, code=2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--relion", "masked=--random_seed 3"],
            "--random_seed cannot be given to RELION here: give",
        ),
        (["--relion", "masked=--ref other.mrc"], "all arms refine the same particles from the same start"),
        (["--relion-option", "--sym C2"], "--sym cannot be given to RELION here"),
        (["--relion", "other=--maskedge 3"], "must be ARM=OPTIONS, and the arms are masked, plain"),
        (["--relion", "--maskedge 3"], "must be ARM=OPTIONS"),
        (["--relion", "masked=maskedge 3"], "RELION's options begin with --"),
        (["--relion", "masked=--maskedge '3"], "cannot be split into words"),
        (["--relion", "masked=--solvent_mask"], "--solvent_mask needs the path of a mask"),
        (["--relion", "masked=--solvent_mask no.mrc"], "there is no mask no.mrc"),
        (["--relion", "masked=--solvent_correct_fsc"], "corrects for a mask, so give --solvent_mask as well"),
        (["--make-mask", "other"], "--make-mask 'other': the arms are masked, plain"),
        (
            ["--make-mask", "masked", "--relion", "masked=--solvent_mask mask.mrc"],
            "a --solvent_mask of its own",
        ),
        (["--make-mask", "masked,plain"], "no arm is one: add --arm plain"),
    ],
)
def test_options_that_make_no_sense_are_refused(words: list[str], told: str, data: Path, fake_relion: Path) -> None:
    assert told in refused(data, *MASKED, *words)


def test_a_mask_on_another_grid_is_refused(data: Path, fake_relion: Path) -> None:
    write_volume(data / "small.mrc", np.ones((8, 8, 8), np.float32), 5.4)
    told = refused(data, *MASKED, "--relion", f"masked=--solvent_mask {data}/small.mrc", code=3)
    assert "the mask is 8³ voxels" in told


def test_one_mask_is_made_for_all_arms_that_ask(data: Path, fake_relion: Path) -> None:
    compare(data, "--arm", "other=true", *MASKED, "--make-mask", "masked,other", "--seeds", "1")
    made = data / "compare" / "made_mask.mrc"
    for run in ("masked_1", "other_1"):
        given = command_of(data, run)
        assert given[given.index("--solvent_mask") + 1] == str(made)
        assert "--solvent_correct_fsc" in given
    assert "--solvent_mask" not in command_of(data, "plain_1")
    mask, true = read_map(made).density, read_map(data / "mask.mrc").density
    assert mask.min() == 0.0
    assert mask.max() == 1.0
    assert made.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((data / "compare" / "comparison.json").read_text())["made_mask"]
    assert found["overlap_with_true_mask"] > 0.9
    assert mask[true < 0.01].max() < 0.5  # the data's own mask is drawn 4 Å wider
    assert found["from"] == "plain, seed 1"
    assert (
        "made_mask.mrc was made from the final half-maps of plain, seed 1"
        in (data / "compare" / "comparison.md").read_text()
    )
    before = made.read_bytes(), made.stat().st_mtime_ns
    compare(data, *MASKED, "--make-mask", "masked", "--seeds", "2")  # the same mask for all runs of the folder
    assert (made.read_bytes(), made.stat().st_mtime_ns) == before


def test_without_the_plain_run_there_is_no_mask_and_the_others_go_on(data: Path, fake_relion: Path) -> None:
    (fake_relion / "relion_refine_mpi").write_text(
        '#!/bin/sh\ncase "$*" in *plain_1*) echo broken; exit 1;; esac\n'
        + (fake_relion / "relion_refine_mpi").read_text().removeprefix("#!/bin/sh\n")
    )
    told = compare(data, *MASKED, "--arm", "free=true", "--make-mask", "masked", "--seeds", "1", code=10)
    assert "masked, seed 1: FAILED" in told
    assert "there is no mask, because plain, seed 1 gave none" in told
    assert "2 of 3 runs failed" in told
    assert set(json.loads((data / "compare" / "comparison.json").read_text())["arms"]) == {"free"}


def test_options_that_relion_does_not_know_are_told(data: Path, fake_relion: Path) -> None:
    compare(data, "--arm", "typo=plain", "--relion", "typo=--solvent_mask mask.mrc --no_such 3", "--seeds", "1")
    assert scores_of(data, "typo_1")["options_unknown_to_relion"] == ["--no_such"]
    assert "typo, seed 1: RELION does not know --no_such" in (data / "compare" / "comparison.md").read_text()


def test_identity_under_a_mask_that_follows_is_relion_by_itself(data: Path, fake_relion: Path) -> None:
    hook = fake_relion / "extrecon-hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    follows = f"follows={hook} --regularizer identity --mask-each-iteration"
    compare(data, "--arm", "plain", "--arm", follows, "--seeds", "1")
    found = scores_of(data, "follows_1")
    assert found["plain"]
    assert {"--solvent_mask", "--solvent_correct_fsc"} <= set(found["relion_options"])
    page = (data / "compare" / "comparison.md").read_text()
    assert "of 2 plain ones" in page
    assert "follows gives RELION `--solvent_mask run" in page


def plain_score(arm: str, seed: int, error: float) -> dict[str, Any]:
    return score(arm, seed, error, plain=True)


def test_the_strongest_plain_arm_is_the_one_to_beat() -> None:
    runs = [plain_score("plain", s, 3.0) for s in (1, 2)] + [plain_score("masked", s, 2.5) for s in (1, 2)]
    runs += [score("cnn", s, 2.0) for s in (1, 2)]
    order = ["plain", "masked", "cnn"]
    assert baseline.reference_arm(runs, order) == "masked"
    rows = report.rows(runs, order)
    assert [row[0] for row in rows[1:]] == ["plain", "plain − masked", "masked", "cnn", "cnn − masked"]
    assert "The arm to beat is masked, of 2 plain ones" in baseline.to_beat(runs, order)


def test_plain_arms_are_ranked_by_the_seeds_they_share() -> None:
    runs = [plain_score("plain", 1, 3.0), plain_score("masked", 1, 3.1), plain_score("masked", 2, 1.0)]
    assert baseline.reference_arm(runs, ["plain", "masked"]) == "plain"


def test_runs_of_earlier_versions_are_known_by_their_command() -> None:
    old = score("plain", 1, 3.0, provenance={"arm_command": "relion_external_reconstruct"})
    runs = [score("cnn", 1, 2.0), old]
    assert baseline.reference_arm(runs, ["cnn", "plain"]) == "plain"
    assert "--make-mask" in baseline.to_beat(runs, ["cnn", "plain"])


def test_without_a_plain_arm_differences_are_to_the_first() -> None:
    runs = [score("a", 1, 2.0), score("b", 1, 3.0)]
    assert baseline.reference_arm(runs, ["a", "b"]) == "a"
    assert "no arm is RELION by itself" in baseline.to_beat(runs, ["a", "b"])
