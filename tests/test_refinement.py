"""A real RELION refinement of the demo particles through the hook, beside RELION's own program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrecon.maps import read_map

DEMO = Path(__file__).resolve().parents[1] / "scripts" / "demo_data"
HOOK = str(Path(sys.executable).with_name("extrecon-hook"))
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
    (folder / "job").mkdir(parents=True)
    for name in ("particles.star", "particles.mrcs", "reference.mrc"):
        shutil.copy(DEMO / name, folder)
    options = (DEMO / "refine.txt").read_text().split()
    environ = os.environ | {
        "RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE": hook,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PYTHONPATH": str(PLUGINS),
    }
    ran = subprocess.run(
        ["mpirun", "--oversubscribe", "-n", "3", "relion_refine_mpi", *options],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return Refinement(folder / "job", ran.stdout)


@pytest.fixture(scope="module")
def with_relions_program(tmp_path_factory: pytest.TempPathFactory) -> Refinement:
    return refine(tmp_path_factory.mktemp("relion") / "run", "relion_external_reconstruct")


def test_identity_refines_as_relions_own_program(with_relions_program: Refinement, tmp_path: Path) -> None:
    ours = refine(tmp_path / "run", f"{HOOK} --regularizer identity")
    assert ours.resolutions() == with_relions_program.resolutions()
    expected = with_relions_program.final_map()
    assert np.linalg.norm(ours.final_map() - expected) < 1e-3 * np.linalg.norm(expected)
    check_records(ours)


def test_localdeblur_regularizes_in_local_search_alone(tmp_path: Path) -> None:
    check_records(refine(tmp_path / "run", f"{HOOK} --regularizer localdeblur"))


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
