"""Comparisons on anybody's particles, with a program in RELION's place: starts, what goes on from them, scores."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.compare.arms import Arm, read_arms
from extrecon.compare.judge import Judge, Scoring
from extrecon.compare.own_particles import read_own_particles
from extrecon.compare.runs import plan_own_runs
from extrecon.compare.start import why_from_the_beginning
from extrecon.compare.unseen import Poses, Unseen, coarse_search, local_search
from extrecon.compare.user_recipe import read_recipe
from extrecon.errors import ExtreconError
from extrecon.maps.mrc import read_map, write_volume

pytestmark = pytest.mark.usefixtures("fake_relion")
OPTIONS = (
    "--o job/run --auto_refine --split_random_halves --i particles.star --ref reference.mrc "
    "--particle_diameter 160 --healpix_order 2 --auto_local_healpix_order 3 --sym C1"
)
COMMAND = ["mpirun", "-n", "3", "relion_refine_mpi", *OPTIONS.split()]
FREE = "free=true"  # any program may be at work in the global search


def compare(*words: str, command: list[str] | None = None, code: int = 0) -> str:
    """Run a comparison in this process, which saves a start, and return what it told."""
    told = ["compare", "-o", "out", "--seeds", "1", *words, "--", *(COMMAND if command is None else command)]
    ran = CliRunner().invoke(app, told)
    error = ran.exception
    if error is not None and not isinstance(error, ExtreconError | SystemExit):
        raise error
    assert (error.exit_code if isinstance(error, ExtreconError) else ran.exit_code) == code, ran.output
    return " ".join(f"{ran.output} {error or ''}".split())


def words_of(own: Path, run: str) -> list[str]:
    log = (own / "out" / run / "log.txt").read_text()
    return next(line.removeprefix("WORDS ") for line in log.splitlines() if line.startswith("WORDS ")).split()


def read(own: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((own / "out" / name).read_text())
    return found


def times(own: Path, name: str) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in (own / "out").glob(f"*/{name}")}


def test_arms_go_on_from_one_global_search(own: Path) -> None:
    told = compare("--arm", "plain", "--arm", "masked=plain", "--arm", FREE, "--make-mask", "masked")
    start = own / "out" / "start_1"
    begun = f"{start}/run_it003_optimiser.star"
    for run in ("plain_1", "masked_1"):
        words = words_of(own, run)
        assert words[words.index("--continue") + 1] == begun
        assert words[words.index("--o") + 1] == f"{own}/out/{run}/run"
        assert "--random_seed" not in words
    assert "--solvent_correct_fsc" in words_of(own, "masked_1")
    free = words_of(own, "free_1")
    assert "--continue" not in free
    assert free[free.index("--random_seed") + 1] == "1"
    assert words_of(own, "start_1")[:2] == ["--o", f"{start}/run"]
    told_once = "made_mask.mrc was made from the final half-maps of plain, seed 1"
    assert _page(own).count(told_once) == _page(own).count("All scores are under one mask, made_mask.mrc.") == 1
    # Nothing is left of later iterations, and no maps but those that RELION goes on from.
    assert not list(start.glob("run_it004*"))
    assert {p.name for p in start.glob("*.mrc")} == {f"run_it003_half{h}_class001.mrc" for h in (1, 2)}
    assert "free begins with the first reference: its program may change the global search" in told
    assert "One global search a seed, with RELION's own program, was the start of plain, masked" in told
    found = read(own, "comparison.json")
    assert found["arms"]["plain"]["iterations"]["mean"] == found["arms"]["free"]["iterations"]["mean"] == 4
    left = {path.name for path in (own / "out" / "plain_1").glob("*.mrc")}
    assert left == {"run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc"}


@pytest.mark.parametrize(("more", "begins"), [(["--healpix_order", "3"], False), ([], True)])
def test_where_there_is_no_common_start(more: list[str], begins: bool, own: Path) -> None:
    compare("--arm", "plain", *(["--no-common-start"] if begins else []), command=[*COMMAND, *more])
    assert not (own / "out" / "start_1").exists()
    assert "--continue" not in words_of(own, "plain_1")


@pytest.mark.parametrize(
    ("options", "relion", "why"),
    [
        ("--regularizer identity", "", ""),
        ("--regularizer identity", "--solvent_mask m.mrc --solvent_correct_fsc", ""),
        ("--regularizer identity --mask-each-iteration", "", ""),
        ("--regularizer local=identity", "", ""),
        ("--regularizer identity --apply never", "", ""),
        ("--regularizer identity --apply always", "", "--apply always regularizes the global search too"),
        ("--regularizer global=identity,local=cnn", "", "identity regularizes the global search"),
        ("--regularizer identity", "--maskedge 3", "--maskedge may mean something else"),
        ("--regularizer nobody=1", "", "its options cannot be read"),
    ],
)
def test_who_goes_on_from_the_common_start(options: str, relion: str, why: str, tmp_path: Path) -> None:
    arm = Arm("mine", f"extrecon-hook {options}", calls_hook=True, relion=tuple(relion.split()))
    told = why_from_the_beginning(arm, tmp_path)
    assert why in told
    assert bool(told) == bool(why)


def test_a_configuration_file_counts(tmp_path: Path) -> None:
    arm = Arm("mine", "extrecon-hook --regularizer identity", calls_hook=True)
    (tmp_path / "extrecon.toml").write_text('apply = "always"\n')
    assert "--apply always" in why_from_the_beginning(arm, tmp_path)


def test_what_is_done_is_kept_and_a_lost_start_is_done_again(own: Path) -> None:
    compare("--arm", "plain")
    before = times(own, "log.txt")
    compare("--arm", "plain", "--arm", "other=true", "--no-common-start", code=2)  # plain would be another run
    compare("--arm", "plain", "--arm", "more=plain")
    after = times(own, "log.txt")
    assert set(after) == {"start_1", "plain_1", "more_1"}
    assert {name: after[name] for name in before} == before
    (own / "out" / "start_1" / "run_it003_half2_class001.mrc").unlink()
    (own / "out" / "more_1" / "refined.json").unlink()
    compare("--arm", "plain", "--arm", "more=plain")
    last = times(own, "log.txt")
    assert last["plain_1"] == after["plain_1"]
    assert last["start_1"] > after["start_1"]
    assert last["more_1"] > after["more_1"]


def test_other_particles_or_another_reference_are_other_runs(own: Path) -> None:
    compare("--arm", "plain")
    stack = (own / "particles.mrcs").read_bytes()
    (own / "particles.mrcs").unlink()
    (own / "particles.mrcs").write_bytes(stack[:-1] + bytes([stack[-1] ^ 1]))
    assert "particles was" in compare("--arm", "plain", code=2)
    assert "relion_command was" in compare("--arm", "plain", command=[*COMMAND, "--pad", "1"], code=2)


def test_scores_are_made_again_where_only_they_are_asked_otherwise(own: Path) -> None:
    told = compare("--arm", "plain", "--arm", "more=plain")
    assert "The arm to beat is" in told
    assert "the finest half-map resolution, corrected for the mask" in told
    before, refined = read(own, "plain_1/score.json"), times(own, "log.txt")
    assert "mean_reference_fsc" not in read(own, "comparison.json")["arms"]["plain"]
    told = compare("--arm", "plain", "--reference-map", "reference.mrc")
    assert times(own, "log.txt") == refined
    after = read(own, "plain_1/score.json")
    assert after["half_map_fsc"] == before["half_map_fsc"]
    assert np.mean(after["reference_fsc"][1:6]) > 0.99  # the final map is the reference with little noise
    # What lies beside is scored alike, so that the table has one meaning.
    assert set(read(own, "comparison.json")["arms"]) == {"plain", "more"}
    assert "mean_reference_fsc" in read(own, "comparison.json")["arms"]["more"]
    assert "the largest FSC with the reference map" in told
    shrunk = read_map(own / "reference.mrc")
    mask = (np.abs(shrunk.density) > 0.5 * shrunk.density.max()).astype(np.float32)
    write_volume(own / "tight.mrc", mask, shrunk.pixel_size_angstrom)
    told = compare("--arm", "plain", "--reference-map", "reference.mrc", "--score-mask", "tight.mrc")
    assert times(own, "log.txt") == refined
    assert read(own, "plain_1/score.json")["half_map_fsc"] != before["half_map_fsc"]
    assert "All scores are under the mask tight.mrc" in (own / "out" / "comparison.md").read_text()


def test_held_out_particles_are_refined_by_no_arm(own: Path) -> None:
    told = compare("--arm", "plain", "--arm", FREE, "--hold-out", "0.25")
    for run in ("start_1", "free_1"):
        words = words_of(own, run)
        assert words[words.index("--i") + 1] == f"{own}/out/particles.star"
    assert "10 of 40 particles are held out of every arm" in _page(own)
    largest = read_map(own / "out" / "plain_1" / "run_class001.mrc").density.max()
    assert read(own, "plain_1/score.json")["held_out_nats"] == pytest.approx(largest, rel=1e-3)
    # The two have one seed, and so the same maps here.
    assert "free is the same as plain by held-out log-likelihood, nats: +0.000 (one seed" in told
    assert "standard error over the particles 0.000" in told
    empty = times(own, "empty.json")
    compare("--arm", "plain", "--arm", FREE, "--hold-out", "0.25", "--reference-map", "reference.mrc")
    assert times(own, "empty.json") == empty
    before = (own / "out" / "particles.star").read_bytes()
    told = compare("--arm", "plain", "--hold-out", "0.5", code=2)
    assert "were made with another part of the particles held out" in told
    assert (own / "out" / "particles.star").read_bytes() == before
    compare("--arm", "plain", "--hold-out", "0.5", "--redo")
    assert "20 of 40 particles are held out of every arm" in _page(own)
    assert list(read(own, "comparison.json")["arms"]) == ["plain"]


def test_a_refinement_that_never_searches_locally_says_so_and_why_stays_in_the_report(own: Path) -> None:
    told = compare("--arm", "plain", "--arm", FREE, command=[*COMMAND, "--never_local"], code=10)
    assert "common start, seed 1: FAILED" in told
    assert "RELION ended before it searched locally" in told
    assert "plain, seed 1: FAILED" in told
    assert "1 of 2 runs failed" in told
    page = (own / "out" / "comparison.md").read_text()
    assert "## plain, seed 1 failed" in page
    assert "there is nothing to go on from" in page
    assert "plain, seed 1" in read(own, "comparison.json")["failures"]
    compare("--arm", FREE, command=[*COMMAND, "--never_local"])
    assert "## plain, seed 1 failed" in (own / "out" / "comparison.md").read_text()


def test_a_report_is_written_where_every_run_failed(own: Path) -> None:
    told = compare("--arm", "bad=false", code=10)
    assert "1 of 1 runs failed" in told
    assert re.search(r"## bad, seed 1 failed\s+```.*RELION ended with code 1", _page(own), re.DOTALL)


def _page(own: Path) -> str:
    return (own / "out" / "comparison.md").read_text()


def test_particles_divided_already_are_told(own: Path) -> None:
    lines = (own / "particles.star").read_text().split("\n")
    count = sum("rln" in line and line.startswith("_") for line in lines[lines.index("data_particles") :])
    at = max(i for i, line in enumerate(lines) if line.startswith("_rln"))
    rows = [f"{line} {1 + i % 2}" if "@" in line else line for i, line in enumerate(lines)]
    rows.insert(at + 1, f"_rlnRandomSubset #{count + 1}")
    (own / "particles.star").unlink()
    (own / "particles.star").write_text("\n".join(rows))
    told = compare("--arm", "plain", command=[*COMMAND, "--no_such", "3"])
    assert "all seeds have the same halves" in _page(own)
    # It is not given again to what goes on, but was not heeded before.
    assert "plain, seed 1: RELION does not know --no_such" in told


def test_two_at_a_time_have_their_starts_first(own: Path) -> None:
    told = compare("--arm", "plain", "--jobs", "2", "--seeds", "1,2")
    assert told.index("common start, seed 2: local") < told.index("plain, seed 1: RELION's resolution")
    assert read(own, "comparison.json")["arms"]["plain"]["corrected_resolution_angstrom"]["seeds"] == 2


def test_poses_are_found_globally_and_judged_locally(own: Path) -> None:
    particles = read_own_particles(read_recipe([*COMMAND, "--ctf", "--offset_range", "4"], ()), own, own, None)
    coarse, local = (search(particles, 8.0).words(own, own, "run", 32) for search in (coarse_search, local_search))
    assert "--sigma_ang" not in coarse
    given = {option: float(coarse[coarse.index(option) + 1]) for option in ("--healpix_order", "--offset_range")}
    # 160 / 15 Å at the rim of 160 Å are 7.6°: half of order 2's step of 15°.
    assert given == {"--healpix_order": 2, "--offset_range": 4}
    assert "--ctf" in coarse
    finest = {words[words.index("--strict_highres_exp") + 1] for words in (coarse, local)}
    assert finest == {"10.6667", "8"}
    assert float(local[local.index("--sigma_ang") + 1]) * 3 > 15 / 2


def test_tasks_can_be_sent_to_a_cluster(own: Path) -> None:
    particles = read_own_particles(read_recipe(COMMAND, ()), own, own, None)
    runs = plan_own_runs(particles, read_arms(["plain"]), [1, 2], own / "out")
    unseen = Unseen(particles, own, own, 8.0)
    scoring = Scoring(Judge(particles), own, "plain, seed 1", own / "mask.mrc", {}, unseen)
    poses = Poses(particles, own, own, own, own, 8.0)
    for task in (*runs, runs[0].start, scoring, poses):
        assert pickle.loads(pickle.dumps(task)) == task


def changed(option: str, value: str) -> list[str]:
    words = list(COMMAND)
    words[words.index(option) + 1] = value
    return words


@pytest.mark.parametrize(
    ("given", "command", "told"),
    [
        (["--healpix-order", "3"], COMMAND, "--healpix-order is for simulated particles; your own command"),
        (["--relion-option", "--pad 1"], COMMAND, "--relion-option is for simulated particles"),
        (["--mpi-ranks", "5"], COMMAND, "--mpi-ranks are in your command already"),
        (["--recipe", "a.txt"], COMMAND, "behind -- or in --recipe, not both"),
        (["--hold-out", "0.7"], COMMAND, "--hold-out is a share between 0 and 0.5"),
        (["--model", "no.cif"], COMMAND, "--model no.cif: there is no such file"),
        ([], [], "Give what `extrecon simulate` wrote; or"),
        ([], changed("--i", "no.star"), "--i no.star: there is no such file in"),
        ([], changed("--ref", "no.mrc"), "--ref no.mrc: there is no such file in"),
        ([], changed("--ref", "a b.mrc"), "cannot work in a path that has a space"),
        ([], [*COMMAND, "--solvent_mask", "no.mrc"], "--solvent_mask no.mrc: there is no such file in"),
        ([], ["no_such_launcher", *COMMAND[3:]], "no_such_launcher is not on the PATH, and the command begins"),
        ([], [" ".join(COMMAND)], "came as one word: leave out the quotes"),
    ],
)
def test_what_cannot_be_is_refused(given: list[str], command: list[str], told: str, own: Path) -> None:
    assert told in compare("--arm", "plain", *given, command=command, code=2)
    assert not list((own / "out").glob("*/log.txt"))


def test_missing_images_and_missing_angles_are_refused(own: Path) -> None:
    text = (own / "particles.star").read_text()
    (own / "particles.star").unlink()
    (own / "particles.star").write_text(text.replace("rlnAngle", "rlnNoAngle"))
    local = changed("--healpix_order", "4")
    assert "no angles, but the command searches locally" in compare("--arm", "plain", command=local, code=2)
    (own / "particles.mrcs").rename(own / "moved.mrcs")
    assert "names the images particles.mrcs, which are not in" in compare("--arm", "plain", code=2)


def test_options_of_own_particles_are_refused_of_simulated_ones(data: Path) -> None:
    ran = CliRunner().invoke(app, ["compare", str(data), "--arm", "plain", "--hold-out", "0.1"])
    assert "--hold-out is for your own particles" in str(ran.exception)
