"""What `extrecon run --mask-each-iteration` adds to RELION's command, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extrecon.cli.run_mask import with_mask
from extrecon.errors import UsageError
from extrecon.maps import HalfMap, read_map, write_map

WORDS = ["mpirun", "-n", "3", "relion_refine_mpi", "--o", "job/run", "--ref", "ref.mrc", "--external_reconstruct"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job").mkdir()
    write_map(tmp_path / "ref.mrc", HalfMap(np.ones((32, 32, 32), np.float32), 2.0))
    return tmp_path


def test_relion_starts_with_the_particles_sphere(project: Path) -> None:
    words = with_mask([*WORDS, "--particle_diameter", "40"])
    assert words[: len(WORDS)] == WORDS
    assert words[-3:] == ["--solvent_mask", "job/run_extrecon_mask.mrc", "--solvent_correct_fsc"]
    mask = read_map(project / "job" / "run_extrecon_mask.mrc")
    assert mask.pixel_size_angstrom == pytest.approx(2.0)
    assert mask.density[16, 16, 25] == pytest.approx(1.0)
    assert mask.density[16, 16, 31] == 0.0
    assert mask.density[16 + 9, 16, 16] == pytest.approx(1.0)


def test_options_that_are_there_are_not_given_twice() -> None:
    assert with_mask([*WORDS, "--solvent_correct_fsc"]).count("--solvent_correct_fsc") == 1


def test_the_box_is_the_widest_sphere_without_a_diameter(project: Path) -> None:
    with_mask(WORDS)
    mask = read_map(project / "job" / "run_extrecon_mask.mrc").density
    assert mask[16, 16, 0] == pytest.approx(0.0, abs=1e-6)
    assert mask[16, 16, 6] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*WORDS, "--solvent_mask", "ref.mrc"], "the command has --solvent_mask ref.mrc"),
        (["bash", "-c", " ".join(WORDS)], "needs --o and --ref as words of the command"),
        (WORDS[:6] + WORDS[8:], "needs --ref as words of the command"),
        ([*WORDS[:5], "absent/run", *WORDS[6:]], "there is no folder absent"),
        ([*WORDS, "--particle_diameter", "wide"], "--particle_diameter is 'wide'"),
    ],
)
def test_what_cannot_work_is_refused_before_relion_starts(words: list[str], told: str, project: Path) -> None:
    with pytest.raises(UsageError, match=told):
        with_mask(words)
    assert not (project / "job" / "run_extrecon_mask.mrc").exists()


def continued(project: Path, mask: str) -> list[str]:
    optimiser = project / "job" / "run_it007_optimiser.star"
    optimiser.write_text(f"\ndata_optimiser_general\n\n_rlnSolventMaskName   {mask}\n \n")
    return ["relion_refine_mpi", "--continue", str(optimiser), "--external_reconstruct"]


def test_a_continued_run_keeps_the_mask_that_it_has(project: Path) -> None:
    words = continued(project, "job/run_extrecon_mask.mrc")
    assert with_mask(words) == words


@pytest.mark.parametrize(("mask", "told"), [("None", "no solvent mask"), ("own.mrc", "own.mrc")])
def test_a_continued_run_that_began_otherwise_is_refused(mask: str, told: str, project: Path) -> None:
    with pytest.raises(UsageError, match=f"this run has {told}, so"):
        with_mask(continued(project, mask))
