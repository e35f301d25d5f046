"""`extrecon run` and `extrecon watch`, with a program in RELION's place that behaves as RELION does."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conftest import EXTRECON, wait_for
from tests.jobs import JobFiles, write_job

pytestmark = pytest.mark.usefixtures("plugins")

# Calls the hook as RELION does, through a shell, then does what the test wants.
RELION = """
import os, subprocess, sys, time
star = sys.argv[sys.argv.index("--star") + 1]
command = os.environ["RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"]
code = subprocess.run(f"{command} {star}", shell=True).returncode
print("RELION says hello", flush=True)
exec(os.environ.get("THEN", ""))
sys.exit(code)
"""


def relion(files: JobFiles, *more: str) -> list[str]:
    words = [sys.executable, "-c", RELION, "--o", "run", "--star", files.star.name, *more]
    return [*words, "--external_reconstruct"]


def run(files: JobFiles, *words: str, code: int = 0, **variables: str) -> str:
    ran = subprocess.run(
        [EXTRECON, "run", *words],
        cwd=files.folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_options_reach_the_hook_and_the_summary_comes_last(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    told = run(files, "--regularizer", "smooth", "--set", "sigma=1.5", "--", *relion(files))
    record = json.loads(files.record.read_text())
    assert record["regularizer"]["settings"] == {"sigma": 1.5}
    assert record["daemon"] == "off"
    assert "extrecon it005 half1 class001: regularized with smooth" in told
    assert told.index("RELION says hello") < told.index("smooth │")
    assert "it005 half1: smoothed" in " ".join(told.split())
    assert (tmp_path / "run_extrecon.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Usage"),
        (["--regularizer", "identity"], "extrecon run needs a command"),
        (["--"], "there is no command after --"),
        (
            ["--", "relion_refine", "--o", "x"],
            "the command lacks --external_reconstruct: RELION would reconstruct by",
        ),
        (["--regulariser", "x", "--", "relion_refine", "--external_reconstruct"], "'--regulariser' is not one of"),
        (["--apply", "x", "--", "relion_refine", "--external_reconstruct"], "'x' is not one of local-search"),
        (["--", "no-such-program", "--external_reconstruct"], "no-such-program: cannot be run"),
    ],
)
def test_what_cannot_work_is_refused(words: list[str], told: str, tmp_path: Path) -> None:
    assert told in run(write_job(tmp_path), *words, code=2)


def test_the_exit_code_passes_through(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    run(files, "--", *relion(files), code=11, THEN="sys.exit(11)")
    run(files, "--", *relion(files), code=128 + 9, THEN="os.kill(os.getpid(), 9)")
    told = run(files, "--regularizer", "raises", "--on-error", "fail", "--", *relion(files), code=1)
    assert "NO MAP" in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_pass_through_once(number: signal.Signals, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    then = """
import signal
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
open("ready", "w").close()
while not heard: time.sleep(0.01)
time.sleep(0.5)
sys.exit(40 + len(heard))
"""
    process = subprocess.Popen(
        [EXTRECON, "run", "--regularizer", "identity", "--", *relion(files)],
        cwd=tmp_path,
        env=os.environ | {"THEN": then},
        stdout=subprocess.PIPE,
    )
    wait_for((tmp_path / "ready").exists)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 41


def test_a_hook_that_was_never_called_is_told_loudly(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    command = ["sh", "-c", "exit 0 # relion_refine --o run --external_reconstruct"]
    told = " ".join(run(files, "--", *command).split())
    assert "RELION never called extrecon-hook (it ended with code 0): nothing was regularized" in told
    # Records of an earlier attempt do not hide it.
    run(files, "--", *relion(files))
    assert "RELION never called" in run(files, "--", *command)


def in_a_terminal(command: list[str], folder: Path, seconds: float = 60.0) -> tuple[str, int]:
    """Return what a program shows on a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "110", "LINES": "40"}
    process = subprocess.Popen(command, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    os.close(ours)
    return shown.decode(errors="replace"), process.wait(timeout=10)


def test_on_a_terminal_the_table_lives_and_relions_output_goes_to_a_file(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    command = [EXTRECON, "run", "--regularizer", "identity", "--", *relion(files)]
    shown, code = in_a_terminal(command, tmp_path)
    assert code == 0
    assert "RELION says hello" not in shown
    assert "RELION says hello" in (tmp_path / "run_relion.log").read_text()
    assert "identity" in shown
    assert "local search: HEALPix order 4 has reached 4" in " ".join(shown.split())


def watch(folder: Path, *words: str, code: int = 0) -> str:
    ran = subprocess.run(
        [EXTRECON, "watch", *words, str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def finished(folder: Path, **outcome: Any) -> list[JobFiles]:
    halves = [write_job(folder, name=f"run_it005_half{half}_class001", order=3) for half in (1, 2)]
    for half, files in enumerate(halves, 1):
        for path in folder.glob("run_it004_*"):
            text = path.read_text().replace("_rlnHealpixOrder   3", "_rlnHealpixOrder   4")
            path.with_name(path.name.replace("it004", "it005").replace("half1", f"half{half}")).write_text(text)
        model = folder / f"run_it005_half{half}_model.star"
        model.write_text(f"\ndata_model_general\n\n_rlnCurrentResolution   {8 + half / 10:.6f}\n \n")
        record = {"outcome": "regularized", "regularizer": {"name": "identity"}, "reason": "local", "warnings": []}
        files.record.write_text(json.dumps(record | {"seconds": {"read": 0.25, "write": 1.0}} | outcome))
    (folder / "run_model.star").write_text("data_model_general\n\n_rlnCurrentResolution 8.0\n")
    return halves


def test_watch_tells_a_finished_job_in_lines(tmp_path: Path) -> None:
    finished(tmp_path)
    told = watch(tmp_path).splitlines()
    assert "it005 half1: regularized with identity (local), 1.2 s" in told
    assert "it005 half2: regularized with identity (local), 1.2 s" in told
    assert "it005: HEALPix order 4, half1 8.10 Å, half2 8.20 Å" in told


def test_watch_shows_a_finished_job_as_a_table(tmp_path: Path) -> None:
    finished(tmp_path, outcome="fallback", reason="it failed", warnings=["look here"])
    shown, code = in_a_terminal([EXTRECON, "watch", str(tmp_path)], tmp_path)
    assert code == 0
    for expected in ("4 local", "8.10", "8.20", "PLAIN (FAILED)", "1.2 / 1.2", "look here", "(2 calls)", "0.25"):
        assert expected in shown


def test_watch_tells_where_relion_did_not_call_the_hook(tmp_path: Path) -> None:
    halves = finished(tmp_path)
    halves[1].record.unlink()
    assert "it005 half2: WARNING: RELION did not call extrecon-hook" in watch(tmp_path)


def test_watch_follows_a_running_job(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = subprocess.Popen([EXTRECON, "watch", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    hook = Path(EXTRECON).with_name("extrecon-hook")
    subprocess.run([hook, "--regularizer", "identity", files.star.name], cwd=tmp_path, check=True)
    assert process.stdout.readline().startswith("it005 half1: regularized with identity")
    (tmp_path / "run_model.star").write_text("data_model_general\n\n_rlnCurrentResolution 8.0\n")
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_watch_refuses_what_is_no_refinement(tmp_path: Path) -> None:
    assert "holds no refinement" in watch(tmp_path, "--once", code=3)
    assert "no such folder" in watch(tmp_path / "absent", code=3)
