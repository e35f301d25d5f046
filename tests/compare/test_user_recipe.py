"""The command that a user refines with: what is read, what is replaced, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrecon.compare.user_recipe import read_recipe, recipe_of_file
from extrecon.errors import UsageError

START = ("mpirun", "-n", "3", "relion_refine_mpi")
OPTIONS = "--o job/run --auto_refine --split_random_halves --i particles.star --ref ref.mrc --sym D2 --pool 30"
COMMAND = [*START, *OPTIONS.split()]


def value(words: list[str], option: str) -> str:
    assert words.count(option) == 1, option
    return words[words.index(option) + 1]


def test_all_is_the_users_but_where_and_which_seed() -> None:
    recipe = read_recipe([*COMMAND, "--random_seed", "7", "--pipeline_control", "Refine3D/job001/"], ())
    words = recipe.words("out/run", 2, ["--pool", "5", "--solvent_mask", "m.mrc"])
    assert words[:4] == list(START)
    expected = {"--o": "out/run", "--random_seed": "2", "--pool": "5", "--sym": "D2", "--solvent_mask": "m.mrc"}
    assert {option: value(words, option) for option in expected} == expected
    assert words.count("--external_reconstruct") == 1
    assert "--pipeline_control" not in words
    again = read_recipe([*COMMAND, "--external_reconstruct"], ()).words("out/run", 2)
    assert again.count("--external_reconstruct") == 1


def test_what_goes_on_is_not_told_its_search_again() -> None:
    recipe = read_recipe([*COMMAND, "--healpix_order", "2", "--offset_range", "5", "--j", "2", "--gpu", "0:1"], ())
    words = recipe.continued(Path("/a/run_it004_optimiser.star"), "out/run", ("--solvent_correct_fsc",))
    assert value(words, "--continue") == "/a/run_it004_optimiser.star"
    assert (value(words, "--o"), value(words, "--j"), value(words, "--gpu"), value(words, "--pool")) == (
        "out/run",
        "2",
        "0:1",
        "30",
    )
    assert "--solvent_correct_fsc" in words
    assert words[-1] == "--external_reconstruct"
    forbidden = {"--healpix_order", "--offset_range", "--i", "--ref", "--random_seed", "--sym", "--auto_refine"}
    assert not forbidden.intersection(words)


@pytest.mark.parametrize(
    ("more", "local"),
    [
        ("", False),  # RELION's defaults: 2 and 4
        ("--healpix_order 4", True),
        ("--healpix_order 2 --auto_local_healpix_order 2", True),
        ("--healpix_order 3 --auto_local_healpix_order 5", False),
    ],
)
def test_whether_the_first_search_is_local(more: str, local: bool) -> None:
    assert read_recipe([*COMMAND, *more.split()], ()).local_from_the_start is local


def test_a_file_holds_a_command_or_options_alone(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    program = "mpirun -n 5 `which relion_refine_mpi` \\"
    path.write_text(f"# refined in May\n{program}\n  {OPTIONS}\n  # a remark\n--j 4\n")
    recipe = recipe_of_file(path, START)
    assert recipe.start == ("mpirun", "-n", "5", "relion_refine_mpi")
    assert recipe.value("--j") == "4"
    assert recipe.cores == 20
    path.write_text(OPTIONS + "\n")
    assert recipe_of_file(path, START).start == START
    path.write_text(f"OMP_NUM_THREADS=1 srun relion_refine_mpi {OPTIONS}\n")
    assert recipe_of_file(path, START).start == ("env", "OMP_NUM_THREADS=1", "srun", "relion_refine_mpi")


def without(option: str, values: int = 1) -> list[str]:
    at = COMMAND.index(option)
    return COMMAND[:at] + COMMAND[at + 1 + values :]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "The command is empty"),
        (["mpirun", "-n", "3", "python", "x"], "no relion_refine_mpi is in this command"),
        (["relion_refine", *OPTIONS.split()], "cannot refine two half-sets by itself"),
        (without("--auto_refine", 0), "has no --auto_refine: only an auto-refinement"),
        (without("--split_random_halves", 0), "has no --split_random_halves"),
        (without("--i"), "has no --i: it names the particles"),
        (without("--ref"), "has no --ref: it names the first reference"),
        ([*COMMAND, "--continue", "a"], "--continue cannot be compared: give the command that"),
        ([*COMMAND, "--blush"], "--blush cannot be compared"),
        ([*COMMAND, "--K", "3"], "--K 3 cannot be compared"),
        ([*COMMAND, ">", "log"], "'>' is for a shell"),
        ([*COMMAND, "&"], "'&' is for a shell"),
        ([*COMMAND, "--healpix_order", "two"], "--healpix_order must have a number, not 'two'"),
    ],
)
def test_what_cannot_be_compared_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        _ = read_recipe(words, START).local_from_the_start
