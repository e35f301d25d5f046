"""A refinement as a whole, from its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrecon.relion import labels
from extrecon.relion.account import BODIES, HALF_SETS, account_of
from extrecon.relion.history import RefinementFolder
from tests.jobs import write_previous


def optimiser(folder: Path, name: str, head: str, body: str = "") -> None:
    (folder / f"{name}_optimiser.star").write_text(f"{head}\n\ndata_optimiser_general\n\n{body}\n")


def model(folder: Path, name: str, body: str = "_rlnCurrentResolution 8.0") -> None:
    (folder / f"{name}_model.star").write_text(f"data_model_general\n\n{body}\n")


def test_the_start_and_each_continuation_are_told(tmp_path: Path) -> None:
    optimiser(tmp_path, "run_it000", "# RELION optimiser; version 4.0.1-commit-abc\n# --o run --auto_refine")
    optimiser(tmp_path, "run_it001", "# RELION optimiser; version 4.0.1-commit-abc\n# --o run --auto_refine")
    optimiser(tmp_path, "run_ct1_it002", "# RELION optimiser; version 5.0.0\n# --o run --continue x")
    optimiser(tmp_path, "other_it000", "# RELION optimiser; version 3.1\n# --o other")
    found = account_of(RefinementFolder(tmp_path, "run"))
    assert [(s.file, s.version, s.options) for s in found.starts] == [
        ("run_it000_optimiser.star", "4.0.1-commit-abc", "--o run --auto_refine"),
        ("run_ct1_it002_optimiser.star", "5.0.0", "--o run --continue x"),
    ]
    assert (found.root, found.name) == ("run", str(tmp_path / "run"))


def test_half_sets_are_known_and_the_end_is(tmp_path: Path) -> None:
    write_previous(tmp_path, "run")
    found = account_of(RefinementFolder(tmp_path))
    assert (found.kind, found.is_split, found.is_finished, found.has_hook) == (HALF_SETS, True, False, False)
    assert found.number(labels.PARTICLE_DIAMETER) == 60.0
    assert found.number(labels.CLASSES) is None
    model(tmp_path, "run")
    assert account_of(RefinementFolder(tmp_path)).is_finished


@pytest.mark.parametrize(("last", "is_finished"), [(4, False), (5, True)])
def test_a_classification_ends_with_its_last_iteration(tmp_path: Path, last: int, is_finished: bool) -> None:
    for number in range(last + 1):
        optimiser(tmp_path, f"run_it{number:03d}", "# --o run", "_rlnNumberOfIterations 5")
        model(tmp_path, f"run_it{number:03d}", "_rlnReferenceDimensionality 2\n_rlnNrClasses 4")
    found = account_of(RefinementFolder(tmp_path))
    assert (found.kind, found.is_finished) == ("2D classification, 4 classes, no half sets", is_finished)


@pytest.mark.parametrize("is_called", [True, False])
def test_the_joined_iteration_is_there_without_a_call(tmp_path: Path, is_called: bool) -> None:
    write_previous(tmp_path, "run")
    if is_called:
        (tmp_path / "run_it004_half1_class001_external_reconstruct.star").touch()
    model(tmp_path, "run", "_rlnCurrentResolution 5.5")
    (tmp_path / "run_sampling.star").write_text("data_sampling_general\n_rlnHealpixOrder 6\n")
    last = account_of(RefinementFolder(tmp_path)).iterations[-1]
    assert (last.number, last.resolution_angstrom, last.healpix_order) == (5, {None: 5.5}, 6)
    assert last.is_uncalled == is_called  # the calls before had shown that one was asked for


def test_bodies_are_known_by_their_calls(tmp_path: Path) -> None:
    write_previous(tmp_path, "run")
    (tmp_path / "run_it004_half1_body002_external_reconstruct.star").write_text("")
    assert account_of(RefinementFolder(tmp_path)).kind == BODIES


def test_what_the_window_says_of_the_end_is_told(tmp_path: Path) -> None:
    write_previous(tmp_path, "run")
    (tmp_path / "RELION_JOB_EXIT_FAILURE").touch()
    assert account_of(RefinementFolder(tmp_path)).ending == "RELION's window says that the job failed"


def test_damaged_values_are_left_out(tmp_path: Path) -> None:
    optimiser(tmp_path, "run_it001", "nothing", "_rlnNumberOfIterations x\n_rlnParticleDiameter inf")
    model(tmp_path, "run_it001", "_rlnNrClasses x\n_rlnReferenceDimensionality x")
    found = account_of(RefinementFolder(tmp_path))
    assert found.kind == "3D classification, 1 class, no half sets"
    assert found.number(labels.PARTICLE_DIAMETER) is None
    assert not found.is_finished
    assert [(s.version, s.options) for s in found.starts] == [("", "")]


def test_an_empty_folder_has_nothing_to_tell(tmp_path: Path) -> None:
    assert account_of(RefinementFolder(tmp_path)).iterations == []


def test_a_root_may_hold_what_a_pattern_would(tmp_path: Path) -> None:
    write_previous(tmp_path, "r[x]")
    model(tmp_path, "r[x]")
    assert account_of(RefinementFolder(tmp_path, "r[x]")).is_finished
