"""Scores of a refinement whose errors are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import starfile
from scipy.spatial.transform import Rotation

from extrecon.compare.dataset import read_data_set
from extrecon.compare.scoring import PERCENTS, angular_errors, course, remove_bulk, score_refinement
from extrecon.errors import RefinementError
from extrecon.maps import read_map, write_map

ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
FINAL = ("run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")
Turn = Callable[[np.ndarray], Rotation]


@pytest.fixture
def job(data: Path, tmp_path: Path) -> Path:
    """A finished refinement whose maps are the truth."""
    folder = tmp_path / "job"
    folder.mkdir()
    truth = read_map(data / "truth.mrc")
    for name in FINAL:
        # Half-maps that are one map would be refused.
        scale = np.float32(1.0 if name == FINAL[0] else 1.0 + 0.01 * int(name[8]))
        write_map(folder / name, truth.with_density(truth.density * scale))
    (folder / "run_model.star").write_text("\ndata_model_general\n\n_rlnCurrentResolution 12.5\n\n")
    for iteration in range(4):
        (folder / f"run_it{iteration:03d}_half1_model.star").touch()
    write_poses(data, folder, lambda half: Rotation.identity(len(half)))
    return folder


def write_poses(data: Path, job: Path, turn: Turn) -> None:
    """Write the true poses, turned by what ``turn`` says of each particle's half."""
    blocks = starfile.read(data / "true.star", always_dict=True)
    particles = blocks["particles"]
    half = 1 + np.arange(len(particles)) % 2
    true = Rotation.from_euler("ZYZ", particles[ANGLES].to_numpy(), degrees=True)
    particles[ANGLES] = (turn(half) * true).as_euler("ZYZ", degrees=True)
    particles["rlnRandomSubset"] = half
    starfile.write(blocks, job / "run_data.star", overwrite=True)


def test_halves_that_have_drifted_apart_have_no_error(data: Path, job: Path) -> None:
    axis = np.array([1.0, 2.0, 2.0]) / 3
    write_poses(
        data, job, lambda half: Rotation.from_rotvec(np.radians(np.where(half == 1, 2.0, 5.0))[:, None] * axis)
    )
    found = angular_errors(job, data / "true.star", "C1")
    assert found["median_error_degrees"] < 1e-3
    assert found["median_shift_error_angstrom"] < 1e-3
    assert found["drift_degrees"] == pytest.approx([2.0, 5.0], abs=1e-3)


def test_errors_about_both_senses_of_an_axis_stay(data: Path, job: Path) -> None:
    """Half of each half-set is turned by 3° one way, half the other: no common turn takes that away."""

    def turn(half: np.ndarray) -> Rotation:
        sign = np.where(np.arange(len(half)) // 2 % 2, 1.0, -1.0)
        return Rotation.from_rotvec(np.radians(3.0) * sign[:, None] * np.array([0.0, 0.6, 0.8]))

    write_poses(data, job, turn)
    found = angular_errors(job, data / "true.star", "C1")
    assert found["error_percentiles_degrees"] == pytest.approx([3.0] * len(PERCENTS), abs=0.02)
    assert found["drift_degrees"] == pytest.approx([0.0, 0.0], abs=0.02)


def test_the_truth_has_full_marks(data: Path, job: Path) -> None:
    found = score_refinement(job, read_data_set(data))
    assert found["mean_fsc"] == pytest.approx(1.0, abs=1e-5)
    assert found["real_space_correlation"] == pytest.approx(1.0, abs=1e-5)
    assert found["median_error_degrees"] < 1e-3
    assert (found["resolution_angstrom"], found["iterations"]) == (12.5, 3)
    assert found["truth_resolution_angstrom"] == pytest.approx(2 * found["pixel_size_angstrom"])
    assert found["validation"]["truth"]["mean_masked_fsc"] == found["mean_fsc"]


def test_what_the_hook_did_is_counted(job: Path) -> None:
    outcomes = ["plain", "regularized", "regularized", "fallback"]
    for number, outcome in enumerate(outcomes):
        iteration, half = divmod(number, 2)
        record = job / f"run_it{iteration + 1:03d}_half{half + 1}_class001_external_reconstruct_extrecon.json"
        record.write_text(json.dumps({"outcome": outcome}))
    # The joined iteration's call has no half, and is no regularizer's.
    (job / "run_it003_class001_external_reconstruct_extrecon.json").write_text('{"outcome": "plain"}')
    told = course(job)
    assert (told["calls"], told["regularized"], told["fallbacks"]) == (4, 2, 1)


def test_an_unfinished_refinement_is_told(data: Path, job: Path) -> None:
    (job / FINAL[0]).unlink()
    with pytest.raises(RefinementError, match=r"without the final map run_class001\.mrc"):
        score_refinement(job, read_data_set(data))


def test_bulk_goes_and_what_was_scored_stays(job: Path) -> None:
    stem = "run_it003_half1_class001_external_reconstruct"
    bulk = [f"{stem}_{kind}.mrc" for kind in ("data_real", "data_imag", "weight")]
    for name in [*bulk, f"{stem}.mrc", "run_it003_half1_class001.mrc", f"{stem}_extrecon.json"]:
        (job / name).touch()
    before = {path.name for path in job.iterdir()}
    remove_bulk(job)
    gone = before - {path.name for path in job.iterdir()}
    assert gone == {*bulk, f"{stem}.mrc", "run_it003_half1_class001.mrc"}
