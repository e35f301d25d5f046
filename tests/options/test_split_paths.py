"""RELION hands the path of its STAR file to a shell without quotation marks: a space splits it into words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from extrecon.errors import UsageError
from extrecon.options.command_line import parse
from tests.jobs import write_job

NAME = "run_it001_half1_class001_external_reconstruct.star"


def _words(command: str) -> list[str]:
    """Return what a shell makes of a command line that holds no quotation marks."""
    return command.split()


def _star(folder: Path, named: str) -> Path:
    path = folder / named
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("data_\n")
    return path


@pytest.mark.parametrize(
    "named",
    [
        f"plain/{NAME}",
        f"My Project/Refine3D/job 7/{NAME}",
        f"two  spaces and   three/{NAME}",
        f"tab\there/{NAME}",
        f"at the end /{NAME}",
        f"before/ {NAME}",
        f"x - y/{NAME}",
        f"x --apply never/{NAME}",
        f"-dash/{NAME}",
        f"a run {NAME}",
    ],
)
@pytest.mark.parametrize("options", ["", "--apply always --set k=1 --no-shell-scale"])
@pytest.mark.parametrize("absolute", [False, True])
def test_the_words_of_a_path_belong_together(named: str, options: str, absolute: bool, tmp_path: Path) -> None:
    star = _star(tmp_path, named)
    given = f"{tmp_path}/{named}" if absolute else named
    found, effective = parse(_words(f"{options} {given}"), {}, tmp_path)
    assert (tmp_path / found).samefile(star)
    assert effective.text("apply") == ("always" if options else "local-search")


def test_the_longest_path_that_makes_sense_of_all_words_counts(tmp_path: Path) -> None:
    _star(tmp_path, f"Project/{NAME}")
    wanted = _star(tmp_path, f"My Project/{NAME}")
    found, _ = parse(["--apply", "always", "My", f"Project/{NAME}"], {}, tmp_path)
    assert (tmp_path / found).samefile(wanted)
    found, _ = parse(["--apply", "always", f"Project/{NAME}"], {}, tmp_path)
    assert found == Path(f"Project/{NAME}")


def test_two_paths_that_look_alike_are_not_guessed_between(tmp_path: Path) -> None:
    _star(tmp_path, f"My  Project/{NAME}")
    _star(tmp_path, f"My\tProject/{NAME}")
    with pytest.raises(UsageError, match=r"space.* 2 files"):
        parse(["My", f"Project/{NAME}"], {}, tmp_path)


def test_a_path_that_cannot_be_found_names_the_space_as_the_cause(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"'My Project/{NAME}'.* space.* RELION"):
        parse(["--apply", "always", "My", f"Project/{NAME}"], {}, tmp_path)


def test_a_misspelt_option_is_still_what_is_told(tmp_path: Path) -> None:
    _star(tmp_path, NAME)
    with pytest.raises(UsageError, match="--aply") as error:
        parse(["--aply", "always", NAME], {}, tmp_path)
    assert "space" not in str(error.value)


def test_a_job_in_a_folder_with_a_space_is_served(tmp_path: Path) -> None:
    files = write_job(tmp_path / "My  Project" / "job")
    text = files.star.read_text()
    for ending in ("_data_real.mrc", "_data_imag.mrc", "_weight.mrc", ".mrc", "_out.star"):
        named = f"{files.stem.name}{ending}"
        assert f"   {named}\n" in text
        text = text.replace(f"   {named}\n", f'   "My  Project/job/{named}"\n')
    files.star.write_text(text)
    hook = Path(sys.executable).with_name("extrecon-hook")
    command = f"{hook} --apply never --daemon off My  Project/job/{files.star.name}"
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert files.result.is_file()
