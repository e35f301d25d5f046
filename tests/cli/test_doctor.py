"""`extrecon doctor` in broken places: every trouble is one line, never a traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from extrecon.cli import disk, doctor, libraries, memory
from extrecon.cli.finding import Finding
from tests.cli.test_commands import PROGRAM, extrecon
from tests.daemon.conftest import Daemon, daemon  # noqa: F401  a fixture
from tests.jobs import write_job

VARIABLE = "RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "600")
    monkeypatch.delenv(VARIABLE, raising=False)


def ended(folder: Path, code: int, *words: str, **variables: str) -> str:
    environ = os.environ | variables
    ran = subprocess.run(
        [PROGRAM, "doctor", *words], cwd=folder, env=environ, capture_output=True, check=False, timeout=120
    )
    told = (ran.stdout + ran.stderr).decode(errors="replace")
    assert "Traceback" not in told, told
    assert ran.returncode == code, told
    return " ".join(told.split())


@pytest.mark.parametrize("module", ["numpy", "scipy"])
def test_a_package_that_cannot_be_imported_is_a_line(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("raise OSError('broken [/x] for the test')\n")
    told = ended(tmp_path, 1, PYTHONPATH=str(tmp_path))
    assert "OSError: broken [/x] for the test" in told
    assert "│ RELION" in told


def test_a_broken_package_stops_only_the_commands_that_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise OSError('broken [/x] for the test')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = extrecon("reconstruct", "x.star", "-o", "x.mrc", folder=tmp_path, code=1)
    assert "'extrecon reconstruct' cannot be used here: OSError: broken [/x] for the test" in told
    assert "Traceback" not in told


BROKEN = pytest.mark.parametrize("how", ["raise ImportError('lib: not found')", "import os; os.abort()"])


@BROKEN
def test_without_onnx_runtime_it_and_the_regularizer_that_needs_it_are_red_lines(tmp_path: Path, how: str) -> None:
    (tmp_path / "onnxruntime.py").write_text(how)
    told = ended(tmp_path, 1, PYTHONPATH=str(tmp_path))
    red = [line for line in told.split("│ │") if "regularizer cnn │" in line]
    assert len(red) == 1
    assert "reinstall" in red[0]
    assert "lib: not found" in told or "ends Python with code -6" in told
    assert "regularizer localdeblur │ version" in told


@BROKEN
def test_a_torch_that_cannot_be_imported_is_a_note(tmp_path: Path, how: str) -> None:
    (tmp_path / "torch.py").write_text(how)
    told = ended(tmp_path, 0, PYTHONPATH=str(tmp_path))
    assert "lib: not found" in told or "ends Python with code -6" in told
    assert "regularizer cnn │ version" in told


def test_whatever_a_check_raises_becomes_a_red_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Finding:
        raise RecursionError("deep [/trouble]")

    def half_broken() -> Iterator[Finding]:
        yield Finding("first", "good", "fine")
        raise SystemExit(3)

    checks: tuple[str, ...] = (
        "_python",
        "_working_directory",
        "_device",
        "_relion",
        "_mpi",
        "_fork",
        "_variable",
    )
    checks += ("_options", "_space", "_daemon", "_runtime_folder", "_other_daemons", "_pictures")
    for name in checks:
        monkeypatch.setattr(doctor, name, broken)
    for name in ("torch", "onnxruntime"):
        monkeypatch.setattr(libraries, name, broken)
    monkeypatch.setattr(doctor, "_plugins", half_broken)
    *found, first, last = doctor.examine()
    assert [(f.state, f.found) for f in found] == [("bad", "RecursionError: deep [/trouble]")] * (len(checks) + 2)
    assert (first.found, last.state, last.found) == ("fine", "bad", "SystemExit: 3")


def test_a_deleted_working_directory_is_a_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone}; rmdir {gone}; exec {shlex.quote(PROGRAM)} doctor"
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stdout + ran.stderr
    assert "working directory is gone" in " ".join(ran.stdout.split())


@pytest.mark.parametrize("value", ["", "  ", "\t"])
def test_a_variable_set_to_nothing_is_red_and_not_called_unset(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    found = doctor._variable()
    assert (found.state, "is set to nothing" in found.found) == ("bad", True)
    monkeypatch.delenv(VARIABLE)
    found = doctor._variable()
    assert (found.state, "is not set" in found.found) == ("note", True)


def test_garbage_in_variables_is_told_in_lines(tmp_path: Path) -> None:
    garbage = {VARIABLE: "hook '[/x]", "EXTRECON_SET": "'", "EXTRECON_RUNTIME_DIR": "x" * 300, "PATH": "\udcff"}
    ended(tmp_path, 1, **garbage)


def test_the_space_is_compared_with_the_accumulators_of_the_box_at_hand(tmp_path: Path) -> None:
    assert disk.accumulator_bytes(512, 2.0) == pytest.approx(2.15e9, rel=0.01)
    assert "box 512" in doctor._space(tmp_path).found
    files = write_job(tmp_path / "Refine3D" / "job001")
    each = sum(path.stat().st_size for path in files.folder.glob("*_data_*.mrc")) // 2
    assert disk.accumulator_bytes(24, 2.0) == each
    for folder in (tmp_path, files.folder):
        assert "box 24, padding 2: 1.4 MB an iteration" in doctor._space(folder).found


@pytest.mark.parametrize(("free", "state"), [(1_000_000, "bad"), (10_000_000, "note"), (10**12, "good")])
def test_too_little_space_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    write_job(tmp_path)
    monkeypatch.setattr(disk, "free_bytes", lambda _: free)
    assert doctor._space(tmp_path).state == state


@pytest.mark.parametrize(
    ("available_gb", "state", "told"),
    [
        (30, "good", "both halves at once"),
        (15, "note", "one half waits for the other"),
        (9, "bad", "RELION would get plain maps"),
        (3, "bad", "the system would end the call"),
    ],
)
def test_the_memory_is_compared_with_what_the_halves_take(
    available_gb: int, state: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: available_gb * 10**9)
    found = memory.memory_finding(512, 2.0, "two-half", threads=2, is_example=False)
    assert (found.state, told in found.found + found.advice) == (state, True)
    assert "6.7 GB for the half-map, 12.7 GB for two-half" in found.found
    example = memory.memory_finding(512, 2.0, "two-half", threads=2, is_example=True)
    assert "(an example: no refinement here)" in example.found
    assert example.state == ("good" if state == "good" else "note")


def test_forks_on_infiniband_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mpirun = tmp_path / "mpirun"
    mpirun.write_text("#!/bin/sh\necho 'mpirun (Open MPI) 4.1.4'\n")
    mpirun.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    devices = tmp_path / "infiniband"
    monkeypatch.setattr(doctor, "INFINIBAND", devices)
    for name in ("RDMAV_FORK_SAFE", "IBV_FORK_SAFE", "OMPI_MCA_mpi_warn_on_fork"):
        monkeypatch.delenv(name, raising=False)
    assert doctor._fork().state == "good"
    (devices / "mlx5_0").mkdir(parents=True)
    found = doctor._fork()
    assert found.state == "note"
    assert "RDMAV_FORK_SAFE=1" in found.advice
    assert "OMPI_MCA_mpi_warn_on_fork=0" in found.advice
    monkeypatch.setenv("RDMAV_FORK_SAFE", "1")
    assert doctor._fork().state == "good"
    mpirun.write_text("#!/bin/sh\necho 'HYDRA build details'\n")
    monkeypatch.delenv("RDMAV_FORK_SAFE")
    assert doctor._fork().state == "good"


def test_other_daemons_of_this_user_are_listed(
    tmp_path: Path,
    daemon: Daemon,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = f"process {daemon.start()}, {daemon.folder}"
    assert told not in doctor._other_daemons().found
    monkeypatch.setenv("EXTRECON_RUNTIME_DIR", str(tmp_path))
    found = doctor._other_daemons()
    assert (found.state, told in found.found) == ("note", True)


def test_a_relative_runtime_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRECON_RUNTIME_DIR", "here")
    assert ["EXTRECON_RUNTIME_DIR=here is relative" in found.found for found in doctor._runtime_folder()] == [True]
    monkeypatch.setenv("EXTRECON_RUNTIME_DIR", "/here")
    assert not list(doctor._runtime_folder())


def test_a_foreseen_error_with_brackets_is_shown_whole(tmp_path: Path) -> None:
    told = extrecon("watch", "[/red]", folder=tmp_path, code=3)
    assert "[/red]: no such folder" in told
