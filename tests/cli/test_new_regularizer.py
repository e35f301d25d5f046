"""The package that `extrecon new-regularizer` makes passes its own tests, and is a regularizer like any other."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.cli.new_regularizer import check_name, class_name, module_name
from extrecon.errors import ExtreconError, UsageError

NAME = "lee-filter"


def made(folder: Path) -> str:
    ended = CliRunner().invoke(app, ["new-regularizer", NAME, "-o", str(folder)])
    if ended.exception is not None:
        raise ended.exception
    return ended.output


def as_installed(folder: Path) -> dict[str, str]:
    """Write what pip would write of its entry points beside the module, and return an environment that finds it."""
    told = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    points = "".join(f"{key} = {value}\n" for key, value in told["entry-points"]["extrecon.regularizers"].items())
    info = folder / f"{module_name(NAME)}-{told['version']}.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(f"[extrecon.regularizers]\n{points}")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {told['version']}\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_its_own_tests_pass_and_the_program_knows_it(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert "class LeeFilter in lee_filter.py" in made(folder)
    assert not [path for path in folder.rglob("*") if path.is_file() and "my_regularizer" in path.read_text()]
    environ = as_installed(folder)
    words = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(folder), "tests"]
    ran = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "14 passed" in ran.stdout
    program = Path(sys.executable).with_name("extrecon")
    ran = subprocess.run(
        [program, "regularizers", NAME], env=environ, capture_output=True, text=True, check=True, timeout=120
    )
    assert "lee-filter 0.1" in ran.stdout
    assert "window" in ran.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ExtreconError, match="already there"):
        made(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("My-Denoiser", "small letters"),
        ("-x", "small letters"),
        ("a--b", "small letters"),
        ("2d", "small letters"),
        ("a_b", "small letters"),
        ("../x", "small letters"),
        ("identity", "installed already"),
        ("numpy", "word or module"),
        ("class", "word or module"),
        ("extrecon", "word or module"),
        ("tests", "word or module"),
    ],
)
def test_names_that_cannot_be_are_refused(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_name(name)


def test_names_in_python() -> None:
    assert module_name("my-3d-denoiser") == "my_3d_denoiser"
    assert class_name("my-3d-denoiser") == "My3dDenoiser"
    check_name("my-3d-denoiser")
