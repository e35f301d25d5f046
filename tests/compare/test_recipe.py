"""The command that RELION is given."""

from __future__ import annotations

import re
import subprocess

import pytest

from extrecon.compare.recipe import PROGRAM, Recipe


def words(recipe: Recipe, *, ctf: bool = False) -> list[str]:
    return recipe.words("out/run", 160.0, "C2", 7, ctf=ctf)


def value(of: list[str], option: str) -> str:
    assert of.count(option) == 1, option
    return of[of.index(option) + 1]


def test_each_field_is_told_once() -> None:
    recipe = Recipe(
        healpix_order=2,
        local_order=3,
        ini_high_angstrom=12.5,
        offset_range_px=4.0,
        offset_step_px=0.5,
        padding=2,
        mpi_ranks=5,
        threads=3,
        launcher="srun --mpi=pmix -p 'a b'",
        more=("--dont_check_norm",),
    )
    told = words(recipe)
    assert told[: told.index("--o")] == ["srun", "--mpi=pmix", "-p", "a b", "-n", "5", PROGRAM]
    expected = {
        "--o": "out/run",
        "--particle_diameter": "160",
        "--sym": "C2",
        "--random_seed": "7",
        "--healpix_order": "2",
        "--auto_local_healpix_order": "3",
        "--ini_high": "12.5",
        "--offset_range": "4",
        "--offset_step": "0.5",
        "--pad": "2",
        "--j": "3",
    }
    assert {option: value(told, option) for option in expected} == expected
    assert "--dont_check_norm" in told
    assert told[-1] == "--external_reconstruct"


def test_a_seed_changes_nothing_but_the_seed() -> None:
    first, second = (Recipe().words("run", 100.0, "C1", seed, ctf=True) for seed in (1, 2))
    assert [(a, b) for a, b in zip(first, second, strict=True) if a != b] == [("1", "2")]


def test_a_ctf_is_asked_for_where_the_images_show_one_and_never_of_the_reference() -> None:
    assert set(words(Recipe(), ctf=True)) - set(words(Recipe())) == {"--ctf", "--ctf_corrected_ref"}


@pytest.mark.parametrize(("order", "local", "at_once"), [(3, 4, False), (4, 4, True), (5, 4, True)])
def test_starting_angles_are_needed_where_the_first_search_is_local(order: int, local: int, at_once: bool) -> None:
    assert Recipe(healpix_order=order, local_order=local).local_from_the_start is at_once


@pytest.mark.relion
@pytest.mark.usefixtures("relion_programs")
def test_relion_knows_every_option() -> None:
    ran = subprocess.run(["relion_refine", "--help"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"--\w+", ran.stdout + ran.stderr))
    assert len(known) > 100
    told = words(Recipe(), ctf=True)
    options = {word for word in told[told.index(PROGRAM) :] if word.startswith("--")}
    assert options <= known
