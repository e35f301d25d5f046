"""A small data set, and a program in RELION's place."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from extrecon.compare import start
from extrecon.regularizer import no_progress
from extrecon.simulate.experiment import Plan, simulate

REPOSITORY = Path(__file__).resolve().parents[2]
TRUTH = REPOSITORY / "scripts" / "demo_data" / "truth.mrc"
FAKE = f'exec "{sys.executable}" -W error "{Path(__file__).with_name("fake_relion.py")}" "$@"'
PROGRAMS = {
    "relion_refine": f"case \"$*\" in *--skip_maximize*) {FAKE};; esac\necho 'RELION version: 9.8.7'",
    # The real one also leaves its ranks to themselves when it is killed outright.
    "mpirun": 'while [ "$1" != relion_refine_mpi ]; do shift; done\n"$@"',
    "relion_refine_mpi": FAKE,
}


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    plan = Plan(TRUTH, particles=40, signal_to_noise=0.5, perturb_degrees=3.0)
    simulate(plan, folder, no_progress)
    return folder


@pytest.fixture
def data(made_once: Path, tmp_path: Path) -> Path:
    """What `extrecon simulate` wrote, by links."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in made_once.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def own(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Particles without a truth and a first reference, in the working directory; starts are soon settled."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("particles.star", "particles.mrcs", "reference.mrc"):
        (folder / name).symlink_to((data / name).resolve())
    monkeypatch.chdir(folder)
    monkeypatch.setattr(start, "_SETTLED_SECONDS", 0.3)
    return folder


@pytest.fixture
def fake_relion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put programs in RELION's place, first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in PROGRAMS.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder
