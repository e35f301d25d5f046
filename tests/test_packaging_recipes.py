"""The recipes in packaging/ say what pyproject.toml says, and name files that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import extrecon

ROOT = Path(__file__).resolve().parents[1]
PACKAGING = ROOT / "packaging"
with (ROOT / "pyproject.toml").open("rb") as _file:
    PROJECT: dict[str, Any] = tomllib.load(_file)["project"]
CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch"}
NOT_FROM_CONDA = {"torch-ctf", "torch-fourier-slice"}


def conda_section(name: str) -> set[str]:
    recipe = (PACKAGING / "conda" / "recipe.yaml").read_text()
    section = re.findall(rf"^  {name}:\n((?:    - .+\n)+)", recipe, re.MULTILINE)
    assert len(section) == 1
    return {line.removeprefix("    - ") for line in section[0].splitlines()}


def as_conda_says(line: str) -> str:
    name, oldest = line.split(">=")
    return f"{CONDA_NAMES.get(name, name)} >={oldest}"


def test_conda_wants_what_pip_wants() -> None:
    wanted = {as_conda_says(line) for line in PROJECT["dependencies"]}
    assert conda_section("run") == wanted | {f"python {PROJECT['requires-python']}"}


def test_conda_constrains_what_the_extras_want() -> None:
    extras = {line for name in ("gpu", "simulate", "cluster") for line in PROJECT["optional-dependencies"][name]}
    wanted = {as_conda_says(line) for line in extras if line.split(">=")[0] not in NOT_FROM_CONDA}
    assert conda_section("run_constraints") == wanted


def test_conda_has_the_programs_and_the_version() -> None:
    recipe = (PACKAGING / "conda" / "recipe.yaml").read_text()
    for name, function in PROJECT["scripts"].items():
        assert f"- {name} = {function}\n" in recipe
    assert f'version: "{extrecon.__version__}"\n' in recipe


def test_the_module_file_is_of_this_version() -> None:
    files = [path.name for path in (PACKAGING / "modulefiles" / "extrecon").iterdir()]
    assert files == [f"{extrecon.__version__}.lua"]


@pytest.mark.parametrize("recipe", ["Dockerfile", "extrecon.def"])
def test_what_goes_into_an_image_is_enough_to_build_from(recipe: str) -> None:
    text = (PACKAGING / recipe).read_text()
    copied = re.findall(r"^(?:COPY (?!--)|    (?=\S+ /source/))(.+?) /source\S*$", text, re.MULTILINE)
    names = {name for words in copied for name in words.split()}
    assert names == {"pyproject.toml", "README.md", "LICENSE", "extrecon", "regularizers", "weights"}
    assert all((ROOT / name).exists() for name in names)


def test_what_is_copied_is_not_kept_from_the_builder() -> None:
    kept = (PACKAGING / "Dockerfile.dockerignore").read_text().split()
    assert {"!pyproject.toml", "!README.md", "!LICENSE", "!extrecon", "!regularizers", "!weights"} <= set(kept)
