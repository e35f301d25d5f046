from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.call.decision import Apply, decide
from extrecon.relion.job import read_job
from extrecon.relion.names import parse_job_name
from extrecon.relion.search import POLL_SECONDS, SearchState, read_search_state
from tests.jobs import BOX, PIXEL_SIZE, JobFiles, blobs, write_job, write_previous


def state_of(files: JobFiles, wait_seconds: float = 0.0) -> SearchState:
    name = parse_job_name(files.star)
    assert name is not None
    return read_search_state(name, wait_seconds)


@pytest.mark.parametrize(
    ("order", "local_order", "local"), [(2, 4, False), (3, 4, False), (4, 4, True), (5, 4, True), (3, 3, True)]
)
def test_relions_own_threshold_decides(order: int, local_order: int, local: bool, tmp_path: Path) -> None:
    state = state_of(write_job(tmp_path, order=order, local_order=local_order))
    assert (state.healpix_order, state.local_healpix_order) == (order, local_order)
    assert state.is_local is local
    assert state.pixel_size_angstrom == 3.0
    assert state.particle_diameter_angstrom == 60.0
    assert state.solvent_mask is None
    assert state.problems == ()


def test_a_continued_run_finds_the_files_of_the_run_before(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_ct4_it005_half1_class001")
    for path in tmp_path.glob("run_ct4_it004_*"):
        path.rename(tmp_path / path.name.replace("run_ct4_", "run_"))
    write_previous(tmp_path, "runner", order=2)
    assert state_of(files).healpix_order == 4


def test_a_run_continued_twice_finds_the_latest(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_ct4_it005_half2_class001")
    for path in tmp_path.glob("run_ct4_it004_*"):
        path.rename(tmp_path / path.name.replace("run_ct4_", "run_ct2_"))
    assert state_of(files).healpix_order == 4


def test_another_run_in_the_folder_is_not_taken(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    for path in tmp_path.glob("run_it004_*"):
        path.rename(tmp_path / path.name.replace("run_", "run2_"))
    state = state_of(files)
    assert state.healpix_order is None
    assert "run_it004_sampling.star: no such file" in state.problems[0]


def test_a_run_whose_name_only_begins_alike_is_not_the_run_before(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_ct4_it005_half1_class001")
    for path in tmp_path.glob("run_ct4_it004_*"):
        path.rename(tmp_path / path.name.replace("run_ct4_", "run5_"))
    assert state_of(files).healpix_order is None


def test_a_file_that_comes_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_job(tmp_path)
    sampling = files.previous("sampling")
    whole = sampling.read_text()
    sampling.write_text(whole[: whole.index("_rlnHealpixOrder") + 18])
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            sampling.write_text(whole)

    monkeypatch.setattr(time, "sleep", sleep)
    assert state_of(files, wait_seconds=10.0).healpix_order == 4
    assert len(looks) == 3


def test_waiting_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + sum(slept))
    files = write_job(tmp_path)
    for kind in ("sampling", "optimiser", "half1_model"):
        files.previous(kind).unlink()
    state = state_of(files, wait_seconds=0.5)
    assert sum(slept) == pytest.approx(0.5, abs=POLL_SECONDS)  # for all three files together
    assert len(state.problems) == 3
    assert state.is_local is None


def decision_of(files: JobFiles, apply: Apply) -> tuple[bool, bool, str]:
    decision = decide(read_job(files.star, files.folder), state_of(files), apply)
    return decision.regularize, decision.joined, decision.reason


def test_decisions(tmp_path: Path) -> None:
    half = write_job(tmp_path / "half")
    assert decision_of(half, "local-search") == (True, False, "local search: HEALPix order 4 has reached 4")
    assert decision_of(half, "never") == (False, False, "--apply never")
    early = write_job(tmp_path / "early", order=2)
    assert decision_of(early, "local-search") == (False, False, "global search: HEALPix order 2 is below 4")
    assert decision_of(early, "always") == (True, False, "--apply always")


def test_the_joined_iteration_is_known_by_its_missing_half(tmp_path: Path) -> None:
    joined = write_job(tmp_path / "joined", name="run_it005_class001")
    regularize, is_joined, reason = decision_of(joined, "local-search")
    assert (regularize, is_joined) == (True, True)
    assert reason.startswith("joined iteration; ")
    classes = write_job(tmp_path / "classes", name="run_it005_class002", split=0)
    assert decision_of(classes, "local-search")[:2] == (True, False)


def test_a_classification_is_regularized_only_if_asked_for(tmp_path: Path) -> None:
    classes = write_job(tmp_path, name="run_it005_class002", split=0, fsc=np.zeros(BOX // 2 + 1))
    regularize, is_joined, reason = decision_of(classes, "local-search")
    assert (regularize, is_joined) == (False, False)
    assert reason == "classification: no half-map FSC tells signal from noise"
    assert decision_of(classes, "always")[0]


@pytest.mark.parametrize(("last_shell", "regularized"), [(4, False), (6, False), (7, True)])
def test_halves_that_share_only_the_starting_reference_stay_plain(
    last_shell: int, regularized: bool, tmp_path: Path
) -> None:
    fsc = np.where(np.arange(BOX // 2 + 1) <= last_shell, 0.6, 0.0)
    files = write_job(tmp_path, fsc=fsc)
    write_previous(tmp_path, "run", command=f" --ini_high {BOX * PIXEL_SIZE / 4.3:.3f} --pad 1")  # shell 4.3
    decided = decision_of(files, "local-search")
    assert decided[0] is regularized
    assert ("the half-maps agree no further than the starting reference went" in decided[2]) is not regularized
    assert decision_of(files, "always")[0]


def test_a_reference_that_was_not_low_passed_holds_nothing_back(tmp_path: Path) -> None:
    files = write_job(tmp_path, fsc=np.where(np.arange(BOX // 2 + 1) <= 3, 0.6, 0.0))
    assert state_of(files).initial_low_pass_angstrom is None
    write_previous(tmp_path, "run", command=" --ini_high -1")
    assert state_of(files).initial_low_pass_angstrom is None
    assert decision_of(files, "local-search")[0]


REFERENCE = f" --auto_refine --ini_high {BOX * PIXEL_SIZE / 4.3:.3f}"  # to shell 4.3
NOISE = np.where(np.arange(BOX // 2 + 1) <= 5, 0.6, 0.0)  # the halves share the reference alone
SIGNAL = np.where(np.arange(BOX // 2 + 1) <= 9, 0.6, 0.0)
ALIKE = "the half-maps agree no further than the starting reference went"


def _continued(folder: Path, fsc: npt.NDArray[np.float64], *, first: str | None, root: str = "run") -> JobFiles:
    """Write a job of a continued run; ``first`` is the command of the run before, whose iteration 1 is left."""
    files = write_job(folder, fsc=fsc)
    write_previous(folder, "run", command=f" --continue {folder.name}/{root}_it001_optimiser.star --pool 30")
    if first is not None:
        text = files.previous("optimiser").read_text()
        head = f"# RELION optimiser; version 3.1.3\n# --o {folder.name}/{root}{first} \n"
        (folder / f"{root}_it001_optimiser.star").write_text(head + text.split("\n", 2)[2])
    return files


def test_noise_alone_stays_plain_after_the_run_was_continued(tmp_path: Path) -> None:
    regularized, _, reason = decision_of(_continued(tmp_path / "r", NOISE, first=REFERENCE), "local-search")
    assert not regularized
    assert reason.startswith(ALIKE)


def test_signal_is_regularized_after_the_run_was_continued(tmp_path: Path) -> None:
    assert decision_of(_continued(tmp_path / "r", SIGNAL, first=REFERENCE), "local-search")[0]
    unfiltered = _continued(tmp_path / "u", NOISE, first=" --auto_refine --pad 1")
    assert state_of(unfiltered).initial_low_pass_is_known
    assert decision_of(unfiltered, "local-search")[0]


def test_where_no_file_tells_the_low_pass_a_continued_run_stays_plain(tmp_path: Path) -> None:
    for fsc in (NOISE, SIGNAL):
        files = _continued(tmp_path / "r", fsc, first=None)
        regularized, _, reason = decision_of(files, "local-search")
        assert not regularized
        assert reason.startswith("the starting reference's low-pass is unknown: RELION was continued")
        assert decision_of(files, "always")[0]


def test_a_run_continued_twice_leads_back_to_its_start(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_ct3_it005_half1_class001", fsc=NOISE)
    body = files.previous("optimiser").read_text().split("\n", 2)[2]
    heads = {
        "run_ct3_it004": f"--continue {tmp_path.name}/run_ct2_it003_optimiser.star --o run",
        "run_ct2_it003": f"--continue {tmp_path}/run_it002_optimiser.star --o run",
        "run_it002": f"--o run{REFERENCE}",
    }
    for stem, command in heads.items():
        (tmp_path / f"{stem}_optimiser.star").write_text(f"# RELION\n# {command} \n{body}")
    assert decision_of(files, "local-search")[2].startswith(ALIKE)


def test_an_earlier_iteration_tells_where_the_continued_one_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    files = _continued(folder, NOISE, first=REFERENCE)
    (folder / "run_it001_optimiser.star").rename(folder / "run_it000_optimiser.star")
    assert decision_of(files, "local-search")[2].startswith(ALIKE)
    (folder / "run_it000_optimiser.star").rename(folder / "other_it000_optimiser.star")
    assert not state_of(files).initial_low_pass_is_known


@pytest.mark.parametrize("particles", ["--i particles.star", "--ios Extract/job012/optimisation_set.star"])
def test_a_run_of_subtomograms_decides_as_one_of_particles(particles: str, tmp_path: Path) -> None:
    """RELION 5 names subtomograms by --ios; its optimiser file then names tomograms, its job file is the same."""
    files = write_job(tmp_path, version="5.0", fsc=NOISE)
    write_previous(tmp_path, "run", command=f" {particles}{REFERENCE}")
    optimiser = files.previous("optimiser")
    tomograms = "_rlnTomoTomogramsFile   Extract/job012/tomograms.star\n_rlnDoSplit"
    optimiser.write_text(optimiser.read_text().replace("_rlnDoSplit", tomograms))
    assert decision_of(files, "local-search")[2].startswith(ALIKE)
    files = write_job(tmp_path / "signal", version="5.0", fsc=SIGNAL)
    write_previous(tmp_path / "signal", "run", command=f" {particles}{REFERENCE}")
    assert decision_of(files, "local-search")[0]


def test_the_iteration_that_was_continued_in_place_leads_further_back(tmp_path: Path) -> None:
    """RELION writes that iteration's files anew, with the few words of --continue."""
    folder = tmp_path / "r"
    files = _continued(folder, NOISE, first=REFERENCE)
    (folder / "run_it001_optimiser.star").rename(folder / "run_it000_optimiser.star")
    rewritten = files.previous("optimiser").read_text().replace("run_it001_opt", "run_it003_opt")
    files.previous("optimiser").write_text(rewritten)
    (folder / "run_it003_optimiser.star").write_text(rewritten)
    assert decision_of(files, "local-search")[2].startswith(ALIKE)


def test_a_run_that_continues_itself_ends_the_search(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    write_previous(tmp_path, "run", command=f" --continue {files.previous('optimiser')}")
    assert not state_of(files).initial_low_pass_is_known


def test_a_run_continued_from_another_folder_stays_plain_once(tmp_path: Path) -> None:
    _continued(tmp_path / "job1", SIGNAL, first=REFERENCE)
    (tmp_path / "job1" / "run_it004_optimiser.star").rename(tmp_path / "job1" / "run_it003_optimiser.star")
    files = write_job(tmp_path / "job2", fsc=SIGNAL)
    for path in (tmp_path / "job2").glob("*_it004_*"):
        path.unlink()
    regularized, _, reason = decision_of(files, "local-search")
    assert not regularized
    assert "run_it004_sampling.star: no such file, nor of any iteration before" in reason
    assert "RELION continues a run of another folder" in reason
    # From the next iteration on there are files, and the first run's still tell how it was started.
    for fsc, wanted in ((SIGNAL, True), (NOISE, False)):
        files = write_job(tmp_path / "job2", fsc=fsc)
        command = " --continue job1/run_it003_optimiser.star"
        write_previous(tmp_path / "job2", "run", command=command)
        assert decision_of(files, "local-search")[0] is wanted


def test_without_knowledge_the_map_stays_plain(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    files.previous("optimiser").unlink()
    regularize, _, reason = decision_of(files, "local-search")
    assert not regularize
    assert reason.startswith("the HEALPix order is unknown: ")
    assert "run_it004_optimiser.star" in reason


def test_two_dimensional_references_stay_plain(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_it005_class001", density=blobs()[12], split=0)
    assert decision_of(files, "always") == (False, False, "the reference is two-dimensional")


def test_a_job_without_a_refinements_name_stays_plain(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    star = files.star.rename(tmp_path / "rec.star")
    job = read_job(star, tmp_path)
    assert decide(job, SearchState(), "local-search").regularize is False
    assert decide(job, SearchState(), "always").regularize is True


@pytest.mark.parametrize(("iteration", "order"), [(3, 2), (4, 2)])
def test_real_refinements(iteration: int, order: int, shared_fixtures: Path) -> None:
    stars = list(shared_fixtures.glob(f"relion-*/*/run_it00{iteration}_half?_class001_external_reconstruct.star"))
    assert {star.parts[-3] for star in stars} == {"relion-3.1.3", "relion-5.0.1"}
    for star in stars:
        name = parse_job_name(star)
        assert name is not None
        state = read_search_state(name, 0.0)
        assert (state.healpix_order, state.local_healpix_order) == (order, 3)
        assert (state.pixel_size_angstrom, state.initial_low_pass_angstrom) == (5.4, 30.0)
