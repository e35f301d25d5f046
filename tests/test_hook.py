"""The hook as RELION runs it: a program, its exit code, and the files it leaves."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from extrecon.maps import read_map
from tests.jobs import FAILING_CALLS, JobFiles, write_job

pytestmark = pytest.mark.usefixtures("plugins")

HOOK = str(Path(sys.executable).with_name("extrecon-hook"))


def call(files: JobFiles, *options: str, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if limit_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [HOOK, "--gate-wait", "0", *options, files.star.name],
        cwd=files.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )


def outcome(files: JobFiles) -> str:
    return str(json.loads(files.record.read_text())["outcome"])


def litter(files: JobFiles) -> list[Path]:
    return list(files.folder.glob(".*"))


def test_one_line_in_the_log(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, "--regularizer", "identity")
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert ran.stdout.count("\n") == 1
    assert ran.stdout.startswith(" extrecon it005 half1 class001: regularized with identity (local search")
    assert outcome(files) == "regularized"
    assert litter(files) == []


@pytest.mark.parametrize("name", ["killed", "crashes"])
def test_a_regularizer_that_is_killed_leaves_the_plain_map(name: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, "--regularizer", name)
    assert ran.returncode == 0
    assert "WARNING: PLAIN MAP RETURNED (the regularizing process was killed by SIG" in ran.stdout
    assert np.array_equal(read_map(files.result).density, read_map(files.beside("_plain.mrc")).density)
    assert outcome(files) == "fallback"
    assert litter(files) == []


def test_or_fails_with_its_own_exit_code(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, "--regularizer", "killed", "--on-error", "fail")
    assert ran.returncode == 8
    assert "killed by SIGKILL" in ran.stderr
    assert not files.result.exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        *FAILING_CALLS,
        (["--apply", "sometimes"], 2),
        (["--no-such-option"], 2),
        (["--set", "k"], 2),
        (["--config", "absent.toml"], 2),
    ],
)
def test_exit_codes(options: list[str], code: int, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, *options)
    assert ran.returncode == code
    assert ran.stderr or "ERROR" in ran.stdout


@pytest.mark.parametrize(("ending", "code"), [("_weight.mrc", 3), (".star", 3)])
def test_missing_input_is_an_input_error(ending: str, code: int, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    files.beside(ending).unlink()
    ran = call(files)
    assert ran.returncode == code
    assert "no such file" in ran.stdout


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, "--regularizer", "identity", limit_bytes=20_000)
    assert ran.returncode == 6
    assert "File too large" in ran.stdout
    assert not files.result.exists()
    assert litter(files) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_hook_stops_its_work_and_cleans_up(number: signal.Signals, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = subprocess.Popen(
        [HOOK, "--regularizer", "sleeps", files.star.name],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "asleep").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = _children(process.pid)
    assert len(children) == 1
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert not Path(f"/proc/{children[0]}").exists()
    assert litter(files) == []


def test_a_killed_hook_takes_its_work_along(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = subprocess.Popen([HOOK, "--regularizer", "sleeps", files.star.name], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "asleep").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (child,) = _children(process.pid)
    process.kill()
    process.wait()
    while Path(f"/proc/{child}").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_two_ranks_at_once_do_not_touch_each_others_files(tmp_path: Path) -> None:
    halves = [write_job(tmp_path, name=f"run_it005_half{half}_class001") for half in (1, 2)]
    running = [
        subprocess.Popen([HOOK, "--regularizer", "smooth", files.star.name], cwd=tmp_path, stdout=subprocess.PIPE)
        for files in halves
    ]
    for process in running:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert [outcome(files) for files in halves] == ["regularized", "regularized"]
    first, second = (read_map(files.result).density for files in halves)
    assert np.array_equal(first, second)


def test_variables_reach_the_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_job(tmp_path)
    monkeypatch.setenv("EXTRECON_APPLY", "never")
    assert "plain map (--apply never)" in call(files).stdout


def test_a_star_path_with_folders_works_from_the_project(tmp_path: Path) -> None:
    files = write_job(tmp_path / "Refine3D" / "job_001")
    files.star.write_text(files.star.read_text().replace("run_it005", "Refine3D/job_001/run_it005"))
    ran = subprocess.run(
        [HOOK, "--regularizer", "identity", str(files.star.relative_to(tmp_path))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert files.result.is_file()


def test_the_help_lists_every_option() -> None:
    from extrecon.options import OPTIONS

    told = subprocess.run(
        [HOOK, "--help"], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"}
    )
    for option in OPTIONS:
        assert f"--{option.name}" in told.stdout
