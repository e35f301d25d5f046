from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extrecon.errors import StarError
from extrecon.relion.job import read_job
from tests.jobs import BOX, PIXEL_SIZE, blobs, write_job


@pytest.mark.parametrize(("version", "known"), [("3.1", None), ("4.0", None), ("5.0", PIXEL_SIZE)])
def test_each_version_is_read(version: str, known: float | None, tmp_path: Path) -> None:
    job = read_job(write_job(tmp_path, version=version).star, tmp_path)
    assert job.pixel_size_angstrom == known
    assert (job.original_size, job.current_size, job.dimensions) == (BOX, BOX, 3)
    assert job.tau2 is not None
    assert job.tau2.shape == (BOX // 2 + 1,)
    assert job.half_map_fsc is not None
    assert job.half_map_fsc[0] == 1.0


def test_a_missing_table_is_no_error(tmp_path: Path) -> None:
    job = read_job(write_job(tmp_path, tau2=False).star, tmp_path)
    assert job.tau2 is None
    assert job.half_map_fsc is None


def test_the_zeros_of_a_classification_are_no_fsc(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_it005_class001", split=0, fsc=np.zeros(BOX // 2 + 1))
    job = read_job(files.star, tmp_path)
    assert job.half_map_fsc is None
    assert job.tau2 is not None


def test_a_two_dimensional_reference_is_read(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_it005_class003", density=blobs()[BOX // 2], split=0)
    job = read_job(files.star, tmp_path)
    assert job.dimensions == 2
    assert job.label == "it005 class003"


def test_small_tau2_survives(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    files.star.write_text(files.star.read_text().replace("1.000000e+03", "1.234567e-07"))
    tau2 = read_job(files.star, tmp_path).tau2
    assert tau2 is not None
    assert np.all(tau2 == 1.234567e-07)


def test_paths_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    files = write_job(tmp_path / "Refine3D" / "job_007")
    text = files.star.read_text().replace("run_it005", "Refine3D/job_007/run_it005")
    files.star.write_text(text)
    job = read_job(files.star, tmp_path)
    assert job.weight.is_file()
    assert job.result == tmp_path / "Refine3D/job_007" / files.result.name


def test_a_moved_project_is_still_found(tmp_path: Path) -> None:
    files = write_job(tmp_path / "deep" / "r")
    files.star.write_text(files.star.read_text().replace("run_it005", "r/run_it005"))
    job = read_job(files.star, tmp_path)
    assert job.weight.is_file()
    assert job.result.parent == files.folder


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("_rlnPaddingFactor", "_rlnPadding", "lacks _rlnPaddingFactor"),
        (
            f"_rlnOriginalImageSize   {BOX}",
            "_rlnOriginalImageSize   32",
            "has 13 shells, but images of 32 px have 17",
        ),
        (f"_rlnOriginalImageSize   {BOX}", "_rlnOriginalImageSize   big", "a number was expected"),
        ("           3 1.000000e+03", "           4 1.000000e+03", "does not count"),
        ("1.000000e+03", "-1.000000e+03", "negative in shell 0"),
        ("_rlnTau2FudgeFactor   1.0", "_rlnTau2FudgeFactor   0.0", "_rlnTau2FudgeFactor is 0, but"),
        ("_rlnTau2FudgeFactor   1.0", "_rlnTau2FudgeFactor   -1.0", "_rlnTau2FudgeFactor is -1, but"),
        ("_rlnTau2FudgeFactor   1.0", "_rlnTau2FudgeFactor   nan", "a number was expected"),
        ("data_external_reconstruct_general", "data_other", "data_external_reconstruct_general is missing"),
    ],
)
def test_what_breaks_the_contract_is_told(old: str, new: str, told: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    text = files.star.read_text()
    assert old in text
    files.star.write_text(text.replace(old, new))
    with pytest.raises(StarError, match=told):
        read_job(files.star, tmp_path)


@pytest.mark.parametrize("key", ["Result", "ResultStarfile"])
@pytest.mark.parametrize("named", ["data_real", "data_imag", "weight"])
@pytest.mark.parametrize("spelling", ["same", "dotted", "linked"])
def test_a_result_that_would_replace_an_accumulator_is_refused(
    key: str, named: str, spelling: str, tmp_path: Path
) -> None:
    files = write_job(tmp_path)
    stem = files.stem.name
    accumulator = f"{stem}_{named}.mrc"
    (tmp_path / "link.mrc").symlink_to(accumulator)
    wanted = {"same": accumulator, "dotted": f"./../{tmp_path.name}/{accumulator}", "linked": "link.mrc"}[spelling]
    ending = {"Result": ".mrc", "ResultStarfile": "_out.star"}[key]
    text = files.star.read_text()
    changed = text.replace(f"_rlnExtRecons{key}   {stem}{ending}\n", f"_rlnExtRecons{key}   {wanted}\n")
    assert changed != text
    files.star.write_text(changed)
    with pytest.raises(StarError, match=f"_rlnExtRecons{key} names .*{wanted}, which is one of the inputs"):
        read_job(files.star, tmp_path)
    assert (tmp_path / accumulator).is_file()


def test_a_result_that_would_replace_the_star_file_is_refused(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    text = files.star.read_text()
    files.star.write_text(text.replace(f"{files.stem.name}_out.star", files.star.name))
    with pytest.raises(StarError, match="which is one of the inputs"):
        read_job(files.star, tmp_path)


@pytest.mark.parametrize("run", ["relion-3.1.3/r31", "relion-5.0.1/r50"])
def test_files_of_real_refinements_are_read(run: str, shared_fixtures: Path) -> None:
    folder = shared_fixtures / run
    stars = sorted(folder.glob("*_external_reconstruct.star"))
    assert len(stars) > 2
    for star in stars:
        job = read_job(star, folder.parent)
        assert job.original_size == 32
        assert job.weight.is_file()
        assert job.tau2 is not None
        assert (job.pixel_size_angstrom == 5.4) is ("5.0.1" in run)


def test_a_result_that_relion_would_not_look_for_is_refused(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    text = files.star.read_text()
    files.star.write_text(
        text.replace("half1_class001_external_reconstruct.mrc", "half1_class101_external_reconstruct.mrc")
    )
    with pytest.raises(StarError, match=r"class101_external_reconstruct\.mrc, but RELION will look for run_it005"):
        read_job(files.star, tmp_path)
