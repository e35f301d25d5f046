"""A real RELION refinement of the demo particles through the hook, beside RELION's own program."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrecon.maps import read_map

DEMO = Path(__file__).resolve().parents[1] / "scripts" / "demo_data"
HOOK = str(Path(sys.executable).with_name("extrecon-hook"))
EXTRECON = str(Path(sys.executable).with_name("extrecon"))
PLUGINS = Path(__file__).resolve().parent / "plugins"
LOCAL_ORDER = 3

pytestmark = [pytest.mark.relion, pytest.mark.usefixtures("relion_programs")]


class Refinement:
    """A finished refinement's folder."""

    def __init__(self, folder: Path, log: str) -> None:
        self.folder = folder
        self.log = log

    def resolutions(self) -> list[str]:
        """Return each iteration's resolution, as RELION wrote it."""
        found = []
        for path in sorted(self.folder.glob("run_it*_half1_model.star")):
            match = re.search(r"_rlnCurrentResolution\s+(\S+)", path.read_text())
            assert match is not None
            found.append(match[1])
        return found

    def order(self, iteration: int) -> int:
        """Return the HEALPix order written after an iteration."""
        match = re.search(r"_rlnHealpixOrder\s+(\d+)", self.text(f"run_it{iteration:03d}_sampling.star"))
        assert match is not None
        return int(match[1])

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(p.read_text()) for p in sorted(self.folder.glob("*_extrecon.json"))]

    def final_map(self) -> np.ndarray:
        return read_map(self.folder / "run_class001.mrc").density


def refine(folder: Path, hook: str) -> Refinement:
    return finish(folder, start(folder, [], {"RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE": hook}))


def start(folder: Path, before: list[str], variables: dict[str, str]) -> subprocess.Popen[str]:
    """Start a refinement, with words before the command."""
    (folder / "job").mkdir(parents=True)
    for name in ("particles.star", "particles.mrcs", "reference.mrc"):
        shutil.copy(DEMO / name, folder)
    options = (DEMO / "refine.txt").read_text().split()
    environ = os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PYTHONPATH": str(PLUGINS),
        **variables,
    }
    return subprocess.Popen(
        [*before, "mpirun", "--oversubscribe", "-n", "3", "relion_refine_mpi", *options],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(folder: Path, process: subprocess.Popen[str]) -> Refinement:
    log, _ = process.communicate(timeout=900)
    assert process.returncode == 0, log[-3000:]
    return Refinement(folder / "job", log)


@pytest.fixture
def runtime() -> Iterator[dict[str, str]]:
    """The variables that give a test a daemon of its own; it must be gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix="ext-", dir="/tmp"))
    yield {"EXTRECON_RUNTIME_DIR": str(folder), "EXTRECON_DAEMON": "auto"}
    assert not folder.exists()


@pytest.fixture(scope="module")
def with_relions_program(tmp_path_factory: pytest.TempPathFactory) -> Refinement:
    return refine(tmp_path_factory.mktemp("relion") / "run", "relion_external_reconstruct")


@pytest.fixture(scope="module")
def with_localdeblur(tmp_path_factory: pytest.TempPathFactory) -> Refinement:
    return refine(tmp_path_factory.mktemp("localdeblur") / "run", f"{HOOK} --regularizer localdeblur")


def test_identity_under_extrecon_run_refines_as_relions_own_program(
    with_relions_program: Refinement, runtime: dict[str, str], tmp_path: Path
) -> None:
    process = start(tmp_path / "run", [EXTRECON, "run", "--regularizer", "identity", "--"], runtime)
    ours = finish(tmp_path / "run", process)
    assert ours.resolutions() == with_relions_program.resolutions()
    expected = with_relions_program.final_map()
    assert np.linalg.norm(ours.final_map() - expected) < 1e-3 * np.linalg.norm(expected)
    check_records(ours)
    assert {r["daemon"] for r in ours.records()} == {"warm"}
    assert "joined: plain" in ours.log
    assert "RELION never called" not in ours.log
    assert (ours.folder / "run_extrecon.png").read_bytes().startswith(b"\x89PNG")


def test_localdeblur_regularizes_in_local_search_alone(with_localdeblur: Refinement) -> None:
    check_records(with_localdeblur)
    assert {r["daemon"] for r in with_localdeblur.records()} == {"off"}


def test_the_daemon_killed_in_iteration_5_changes_no_map(
    with_localdeblur: Refinement, runtime: dict[str, str], tmp_path: Path
) -> None:
    process = start(tmp_path / "run", [EXTRECON, "run", "--regularizer", "localdeblur", "--"], runtime)
    called = tmp_path / "run" / "job" / "run_it005_half1_class001_external_reconstruct.star"
    while not called.exists():
        assert process.poll() is None
        time.sleep(0.005)
    status = next(Path(runtime["EXTRECON_RUNTIME_DIR"]).glob("*.json"))
    os.kill(json.loads(status.read_text())["pid"], signal.SIGKILL)
    ours = finish(tmp_path / "run", process)
    check_records(ours)
    served = [(r["iteration"], r["daemon"]) for r in ours.records()]
    assert {daemon for iteration, daemon in served if iteration < 5} == {"warm"}
    assert {daemon for iteration, daemon in served if iteration in (5, 6)} != {"warm"}
    assert {daemon for iteration, daemon in served if iteration > 6} == {"warm"}
    assert ours.resolutions() == with_localdeblur.resolutions()
    maps = sorted(path.name for path in ours.folder.glob("*_class001.mrc"))
    assert len(maps) > 10
    for name in maps:
        assert np.array_equal(
            read_map(ours.folder / name).density, read_map(with_localdeblur.folder / name).density
        )


def check_records(run: Refinement) -> None:
    """Hold each record against the files that RELION wrote."""
    records = run.records()
    joined = [r for r in records if r["half"] is None]
    halves = [r for r in records if r["half"] is not None]
    assert len(joined) == 1
    assert len(halves) == 2 * (joined[0]["iteration"] - 1)
    for record in halves:
        before = run.order(record["iteration"] - 1)
        assert record["healpix_order"] == before
        assert record["outcome"] == ("regularized" if before >= LOCAL_ORDER else "plain")
        stem = f"run_it{record['iteration']:03d}_half{record['half']}_class001_external_reconstruct"
        assert (run.folder / f"{stem}_plain.mrc").exists() is (before >= LOCAL_ORDER)
    assert {r["outcome"] for r in halves} == {"plain", "regularized"}
    assert joined[0]["outcome"] == "plain"
    stem = f"run_it{joined[0]['iteration']:03d}_class001_external_reconstruct"
    assert (run.folder / f"{stem}_regularized.mrc").is_file()
    assert run.log.count(" extrecon it") >= len(records)


def test_relion_survives_a_regularizer_that_dies(tmp_path: Path, with_relions_program: Refinement) -> None:
    """The regularizer kills its process in every local iteration: RELION ends as if there were none."""
    ours = refine(tmp_path / "run", f"{HOOK} --regularizer killed")
    assert ours.resolutions() == with_relions_program.resolutions()
    outcomes = [r["outcome"] for r in ours.records()]
    assert outcomes.count("fallback") >= 3
    assert "regularized" not in outcomes
    assert ours.log.count("WARNING: PLAIN MAP RETURNED") == outcomes.count("fallback")


def test_relion_survives_a_regularizer_that_spoils_exits_and_hangs(
    tmp_path: Path, with_relions_program: Refinement
) -> None:
    ours = refine(tmp_path / "run", f"{HOOK} --regularizer takes-turns --time-limit 2")
    assert ours.resolutions() == with_relions_program.resolutions()
    reasons = {r["iteration"]: r["reason"] for r in ours.records() if r["outcome"] == "fallback"}
    told = {0: "turned or mirrored|another map|shifted", 1: "tried to end the program", 2: "--time-limit"}
    assert {iteration % 3 for iteration in reasons} == set(told)
    for iteration, reason in reasons.items():
        assert re.search(told[iteration % 3], reason)
    assert ours.log.count("WARNING: PLAIN MAP RETURNED") == 2 * len(reasons) - 1  # the joined iteration is one call
    watched = subprocess.run(
        [EXTRECON, "watch", "--once", str(ours.folder)], capture_output=True, text=True, check=True
    )
    assert watched.stdout.count("WARNING: PLAIN MAP RETURNED") == 2 * len(reasons) - 1
