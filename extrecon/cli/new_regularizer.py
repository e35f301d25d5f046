"""``extrecon new-regularizer``: a small package with a regularizer that works, to be made one's own."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from extrecon.cli.console import console
from extrecon.errors import OutputError, UsageError
from extrecon.regularizer import available

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FILES = {
    "pyproject.txt": "pyproject.toml",
    "readme.txt": "README.md",
    "module.txt": "my_regularizer.py",
    "test.txt": "tests/test_my_regularizer.py",
}


def command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The regularizer's and its package's name, such as my-denoiser.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where to make it; else ./NAME.")
    ] = None,
) -> None:
    """Make a package with a regularizer that works, its settings and its tests, to be made one's own.

    Writes DIR/pyproject.toml, README.md, a module, and tests that use `extrecon.testing`. Nothing is overwritten.
    """
    check_name(name)
    folder = output or Path(name)
    if folder.exists():
        raise OutputError(f"{folder}: is already there; choose another folder with -o.")
    try:
        _write(name, folder)
    except OSError as error:
        raise OutputError(f"{folder}: the package cannot be written: {error.strerror}.") from error
    console.print(
        f"{folder}: a regularizer '{name}', class {class_name(name)} in {module_name(name)}.py. Next:\n"
        f"  pip install -e '{folder}[test]'\n  pytest {folder}\n"
        f"  extrecon regularize half1.mrc half2.mrc --regularizer {name} -o out",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def check_name(name: str) -> None:
    """Refuse a name that cannot be a package's, a module's and a regularizer's.

    Raises
    ------
    UsageError : it is not of that form, or taken.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}': a name is small letters, digits and single hyphens, such as my-denoiser.")
    if name in available():
        raise UsageError(f"'{name}': a regularizer of this name is installed already.")
    module = module_name(name)
    if keyword.iskeyword(module) or module == "tests" or find_spec(module) is not None:
        raise UsageError(f"'{name}': Python has a word or module '{module}' already; choose another name.")


def module_name(name: str) -> str:
    """Return the name of the module: ``my_denoiser`` for ``my-denoiser``."""
    return name.replace("-", "_")


def class_name(name: str) -> str:
    """Return the name of the class: ``MyDenoiser`` for ``my-denoiser``."""
    return "".join(part.capitalize() for part in name.split("-"))


def _write(name: str, folder: Path) -> None:
    words = {
        "my-regularizer": name,
        "my_regularizer": module_name(name),
        "MyRegularizer": class_name(name),
    }
    templates = files("extrecon.cli") / "new_regularizer_files"
    for source, target in _FILES.items():
        path = folder / _with(words, target)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_with(words, (templates / source).read_text(encoding="utf-8")), encoding="utf-8")


def _with(words: Mapping[str, str], text: str) -> str:
    for word, ours in words.items():
        text = text.replace(word, ours)
    return text
