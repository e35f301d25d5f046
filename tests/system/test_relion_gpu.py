from __future__ import annotations

from pathlib import Path

import pytest

from extrecon.call.pipeline import run_job
from extrecon.options import RELIONS_GPU, command_line, resolve
from extrecon.options.command_line import parse
from extrecon.system.relion_gpu import device_of_relion, gpu_for_rank
from tests.jobs import write_job


@pytest.mark.parametrize(
    ("given", "rank", "gpu"),
    [
        ("2,3", None, 2),
        ("2,3", 0, 2),
        ("2,3", 1, 2),
        ("2,3", 2, 3),
        ("2,3", 3, 2),
        ("5", 4, 5),
        ("0:1", 1, 0),
        ("0:1", 2, 1),
        ("0:1", 3, 0),
        ("0,1:2,3", 1, 0),
        ("0,1:2,3", 2, 2),
        ("0,1:2,3", 3, 1),
        ("0,1:2,3", 4, 3),
        ("", 1, None),
        ("--j", 1, None),
        ("2,", 1, None),
        (":", 1, None),
        ("-1", 1, None),
        ("²", 1, None),
        ("9999999", 1, None),
    ],
)
def test_a_rank_works_on_its_own_gpu(given: str, rank: int | None, gpu: int | None) -> None:
    assert gpu_for_rank(["relion_refine_mpi", "--o", "r", "--gpu", given, "--j", "4"], rank) == gpu


@pytest.mark.parametrize(
    "words", [[], ["relion_refine"], ["relion_refine", "--gpu"], ["relion_refine", "--j", "2"]]
)
def test_relion_without_gpus_tells_none(words: list[str]) -> None:
    assert gpu_for_rank(words, 1) is None


def _processes(proc: Path, *commands: str) -> Path:
    """Write what the system tells of a chain of processes, 100 first, each the child of the next."""
    for number, command in enumerate(commands, start=100):
        folder = proc / str(number)
        folder.mkdir()
        (folder / "stat").write_text(f"{number} (odd) name)) S {number + 1} 1 1 0\n")
        (folder / "cmdline").write_text("\0".join(command.split(" ")) + "\0")
    return proc


MPI = "/usr/bin/relion_refine_mpi --o job/run --gpu 2,3 --j 4"


def test_the_relion_above_the_hook_is_asked(tmp_path: Path) -> None:
    proc = _processes(tmp_path, "extrecon-hook x.star", "sh -c extrecon-hook", MPI, "mpirun -n 3 relion_refine_mpi")
    for environ, device in (
        ({}, "cuda:2"),
        ({"OMPI_COMM_WORLD_RANK": "2"}, "cuda:3"),
        ({"PMI_RANK": "2", "SLURM_PROCID": "0"}, "cuda:3"),
        ({"SLURM_PROCID": "1"}, "cuda:2"),
        ({"SLURM_PROCID": "many"}, "cuda:2"),
    ):
        assert device_of_relion(environ, 100, proc) == device


def test_a_relion_without_mpi_has_no_rank(tmp_path: Path) -> None:
    proc = _processes(tmp_path, "extrecon-hook x.star", "relion_refine --gpu 2:3")
    assert device_of_relion({"SLURM_PROCID": "2"}, 100, proc) == "cuda:2"


def test_where_no_relion_is_above_nothing_is_told(tmp_path: Path) -> None:
    proc = _processes(tmp_path, "extrecon-hook x.star", "bash", "grep --gpu 1 relion_refine")
    assert device_of_relion({}, 100, proc) is None
    assert device_of_relion({}, 999, proc) is None
    assert device_of_relion({}) is None  # pytest is no RELION


def _parsed_device(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, driver: bool, folder: Path
) -> tuple[str, str]:
    monkeypatch.setattr(command_line, "cuda_may_be_had", lambda: driver)
    monkeypatch.setattr(command_line, "device_of_relion", lambda _environ: "cuda:3")
    _, options = parse([*arguments, "x.star"], {}, folder)
    return options.text("device"), options.origins["device"]


def test_auto_takes_the_gpu_that_relion_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _parsed_device([], monkeypatch, True, tmp_path) == ("cuda:3", "RELION's --gpu")
    assert _parsed_device(["--device", "auto"], monkeypatch, True, tmp_path) == ("cuda:3", "RELION's --gpu")
    assert _parsed_device(["--device", "cpu"], monkeypatch, True, tmp_path) == ("cpu", "flag")
    assert _parsed_device(["--device", "cuda:1"], monkeypatch, True, tmp_path) == ("cuda:1", "flag")
    assert _parsed_device([], monkeypatch, False, tmp_path) == ("auto", "default")


def test_auto_stays_auto_where_relion_has_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command_line, "cuda_may_be_had", lambda: True)
    _, options = parse(["x.star"], {}, tmp_path)
    assert (options.text("device"), options.origins["device"]) == ("auto", "default")


@pytest.mark.parametrize("on_error", ["plain", "fail"])
def test_relions_gpu_that_is_missing_here_ends_no_refinement(on_error: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    given = resolve({"device": "cuda:97", "on_error": on_error, "apply": "never"}, [], {}, None, tmp_path)
    options = given._replace(origins={**given.origins, "device": RELIONS_GPU})
    record = run_job(files.request(options), lambda _line: None)
    assert str(record.device).startswith("cpu")
    assert any("working on the CPU" in warning for warning in record.warnings)
    assert files.result.is_file()
