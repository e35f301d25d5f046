"""Comparisons with a program in RELION's place: resuming, failing, stopping, engines."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.compare import session
from extrecon.compare.refinement import refine
from extrecon.compare.report import write_report
from extrecon.errors import ExtreconError, RefinementError

PROGRAM = str(Path(sys.executable).with_name("extrecon"))
pytestmark = pytest.mark.usefixtures("fake_relion")


def compare(data: Path, *words: str, code: int = 0) -> str:
    ran = subprocess.run(
        [PROGRAM, "compare", str(data), *words], capture_output=True, text=True, check=False, timeout=240
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return " ".join((ran.stdout + ran.stderr).split())


def refused(data: Path, *words: str, code: int = 2) -> str:
    """Return the error of a command that must not start anything."""
    error = CliRunner().invoke(app, ["compare", str(data), *words]).exception
    assert isinstance(error, ExtreconError), error
    assert error.exit_code == code
    return str(error)


def scores(data: Path) -> dict[str, float]:
    return {path.parent.name: path.stat().st_mtime for path in (data / "compare").glob("*/score.json")}


def report(data: Path) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = json.loads(
        (data / "compare" / "comparison.json").read_text()
    )
    return found


def test_earlier_arms_stay_in_the_report(data: Path) -> None:
    compare(data, "--arm", "plain", "--arm", "other=true", "--seeds", "1")
    compare(data, "--arm", "third=true", "--seeds", "1")
    assert list(report(data)["arms"]) == ["plain", "third", "other"]
    compare(data, "--arm", "third=true", "--seeds", "1", "--ini-high", "30", "--redo")
    assert list(report(data)["arms"]) == ["third"]  # the others were refined in another way


def test_what_is_done_is_kept_and_the_rest_is_added(data: Path) -> None:
    compare(data, "--arm", "plain", "--seeds", "1,2")
    before = scores(data)
    assert set(before) == {"plain_1", "plain_2"}
    compare(data, "--arm", "plain", "--arm", "other=true", "--seeds", "1,2")
    after = scores(data)
    assert set(after) == {"plain_1", "plain_2", "other_1", "other_2"}
    assert {name: after[name] for name in before} == before
    for picture in ("comparison.png", "comparison_maps.png"):
        assert (data / "compare" / picture).read_bytes().startswith(b"\x89PNG")
        assert f"]({picture})" in (data / "compare" / "comparison.md").read_text()
    found = report(data)
    # Three Gaussian angles of 1° and 2° standard deviation have a median length of 1.538 such deviations.
    error = found["arms"]["plain"]["median_error_degrees"]
    assert error["mean"] == pytest.approx(1.538 * 1.5, rel=0.2)
    assert error["sd"] == pytest.approx(1.538 / 2**0.5, rel=0.4)
    assert found["paired_differences"]["other"]["median_error_degrees"] == {"mean": 0.0, "sd": 0.0, "seeds": 2}
    assert "other − plain" in (data / "compare" / "comparison.md").read_text()


def test_iterations_maps_are_removed_and_final_ones_kept(data: Path) -> None:
    compare(data, "--arm", "plain", "--seeds", "1")
    left = {path.name for path in (data / "compare" / "plain_1").glob("*.mrc")}
    assert left == {"run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc"}


def test_an_unfinished_run_is_begun_again(data: Path) -> None:
    compare(data, "--arm", "plain", "--seeds", "1")
    (data / "compare" / "plain_1" / "score.json").unlink()
    (data / "compare" / "plain_1" / "leftover").touch()
    compare(data, "--arm", "plain", "--seeds", "1")
    assert not (data / "compare" / "plain_1" / "leftover").exists()
    assert set(scores(data)) == {"plain_1"}


def test_a_run_made_otherwise_is_refused_until_redo(data: Path) -> None:
    compare(data, "--arm", "a=true", "--seeds", "1")
    before = scores(data)
    told = compare(data, "--arm", "a=echo", "--seeds", "1", code=2)
    assert "arm_command was true, is echo" in told
    assert "--redo" in told
    assert scores(data) == before
    told = compare(data, "--arm", "a=true", "--seeds", "1", "--ini-high", "25", code=2)
    assert "relion_command was --ini_high 20, is --ini_high 25" in told
    compare(data, "--arm", "a=echo", "--seeds", "1", "--redo")
    assert scores(data) != before


def test_other_particles_are_other_runs(data: Path) -> None:
    compare(data, "--arm", "plain", "--seeds", "1")
    stack = bytearray((data / "particles.mrcs").read_bytes())
    stack[-1] ^= 1
    (data / "particles.mrcs").unlink()
    (data / "particles.mrcs").write_bytes(stack)
    assert "data_sha256 was" in compare(data, "--arm", "plain", "--seeds", "1", code=2)


def test_a_failing_run_is_told_and_the_others_go_on(data: Path) -> None:
    told = compare(data, "--arm", "bad=false", "--arm", "plain", "--seeds", "1", code=10)
    assert "bad, seed 1: FAILED" in told
    assert "RELION ended with code 1" in told
    assert "ERROR: there was something wrong with system call" in told
    assert "1 of 2 runs failed" in told
    assert set(scores(data)) == {"plain_1"}
    assert set(report(data)["arms"]) == {"plain"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--arm", "blain"], "The arm 'blain' is neither plain nor an installed regularizer"),
        (["--arm", "a/b=true"], "An arm cannot be called 'a/b'"),
        (["--arm", "a="], "has no command"),
        (["--arm", "a=no-such-program x"], "calls no-such-program, but no such program is on the PATH"),
        (["--arm", "plain", "--arm", "plain"], "Two arms are called 'plain'"),
        (["--arm", "plain", "--seeds", "1,1"], "Seeds must differ"),
        (["--arm", "plain", "--seeds", "one"], "Seeds are whole numbers"),
        (["--arm", "plain", "--slurm-option", "a=b"], "--slurm-option is for"),
        (["--arm", "plain", "--engine", "submitit", "--slurm-option", "mem_gb=much"], "submitit refuses"),
        (["--arm", "plain", "--engine", "submitit", "--jobs", "2"], "--jobs is for --engine local"),
    ],
)
def test_nonsense_is_refused(words: list[str], told: str, data: Path) -> None:
    assert told in refused(data, *words)
    assert not scores(data)


@pytest.mark.skipif(shutil.which("sbatch") is not None, reason="there is a SLURM here")
def test_slurm_must_be_there(data: Path) -> None:
    assert "submitit finds no slurm here" in refused(data, "--arm", "plain", "--engine", "slurm")


def test_local_search_without_starting_angles_is_refused(data: Path) -> None:
    lines = (data / "particles.star").read_text().replace("rlnAngle", "rlnNoAngle")
    (data / "particles.star").unlink()
    (data / "particles.star").write_text(lines)
    assert "Simulate with --perturb" in refused(data, "--arm", "plain")


def test_without_relion_it_says_how_to_get_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install relion" in refused(data, "--arm", "plain")


def test_a_folder_that_simulate_did_not_write_is_refused(tmp_path: Path) -> None:
    assert "has no truth.mrc; make the folder with `extrecon simulate`" in compare(
        tmp_path, "--arm", "plain", code=3
    )


def test_two_jobs_at_a_time_and_submitted_jobs_give_the_same_scores(data: Path) -> None:
    arms = ("--arm", "plain", "--arm", "bad=false", "--seeds", "1,2")
    found = []
    for words in (["--jobs", "2"], ["--engine", "submitit", "--slurm-option", "timeout_min=5"]):
        output = data / words[-1]
        told = compare(data, *arms, *words, "-o", str(output), code=10)
        assert "2 of 4 runs failed" in told
        assert "RELION ended with code 1" in told
        done = [json.loads(path.read_text()) for path in sorted(output.glob("*/score.json"))]
        assert [run["seed"] for run in done] == [1, 2]
        found.append([run["error_percentiles_degrees"] for run in done])
    assert found[0] == found[1]


@pytest.mark.parametrize("engine", ["local", "submitit"])
def test_nothing_outlives_a_comparison_that_is_stopped(engine: str, data: Path) -> None:
    process, sleeping = start_sleeping(data, "--seeds", "1,2", "--engine", engine)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=90)
    assert process.returncode == 128 + signal.SIGINT
    assert b"Stopped by SIGINT" in told
    _, alive = psutil.wait_procs(sleeping, timeout=10)
    assert not alive
    assert not [each for each in psutil.process_iter() if _is_ours(each, data)]
    assert not scores(data)


def test_what_is_done_is_reported_while_others_run_and_stays_when_stopped(data: Path) -> None:
    process, _ = start_sleeping(data, "--arm", "plain", "--seeds", "1", "--jobs", "2")
    page = data / "compare" / "comparison.md"
    deadline = time.monotonic() + 90
    while not page.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=90)
    assert "**1 of 2 runs are done so far.**" in page.read_text()
    assert list(report(data)["arms"]) == ["plain"]


def test_a_report_that_cannot_be_written_between_ends_no_comparison(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def on_a_full_disk(output: Path, *told: Any) -> list[Path]:
        asked.append(output)
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_report(output, *told)

    monkeypatch.setattr(session, "write_report", on_a_full_disk)
    assert CliRunner().invoke(app, ["compare", str(data), "--arm", "plain", "--seeds", "1,2"]).exit_code == 0
    assert len(asked) == 2
    assert set(scores(data)) == {"plain_1", "plain_2"}


def test_a_killed_launcher_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed as soon as its rank has been seen: what was never seen cannot be ended."""
    ranks: list[psutil.Process] = []
    children = psutil.Process.children

    def watched(launcher: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
        family = children(launcher, recursive=recursive)
        ranks[:] = [each for each in family if each.cmdline()[:2] == ["sleep", "300"]]
        if ranks:
            launcher.kill()
        return family

    monkeypatch.setattr(psutil.Process, "children", watched)
    with pytest.raises(RefinementError, match="RELION was killed by SIGKILL"):
        refine(["sh", "-c", "sleep 300 & wait"], "none", tmp_path, tmp_path)
    assert len(ranks) == 1
    assert not psutil.wait_procs(ranks, timeout=10)[1]


def start_sleeping(data: Path, *words: str) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """Start a comparison whose arm sleeps, and return it with the sleeping processes once there is one."""
    process = subprocess.Popen(
        [PROGRAM, "compare", str(data), "--arm", "slow=sleep 300 &&", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 90
    while not (sleeping := [each for each in psutil.process_iter() if _is_ours(each, data)]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process, sleeping


def _is_ours(process: psutil.Process, data: Path) -> bool:
    """Tell whether a process is the arm's, at work on this test's data."""
    try:
        return process.cmdline()[:2] == ["sleep", "300"] and Path(process.cwd()) == data
    except psutil.Error:
        return False


def test_a_second_comparison_in_the_same_folder_waits_its_turn(data: Path) -> None:
    import fcntl

    (data / "compare").mkdir()
    with (data / "compare" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another comparison is at work" in refused(data, "--arm", "plain")
