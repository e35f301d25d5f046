"""The pages: their links lead somewhere, and their commands are those of the program."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from extrecon.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
RAW = ("run", "relion-job")  # their words are read elsewhere
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each call of extrecon in the page's blocks of code, without the program's own path."""
    for block in re.findall(r"^ *```[a-z]*\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"\s*(\S*/)?extrecon ", line):
                yield shlex.split(line, comments=True)[1:]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that the first words name, and the words that follow it."""
    found: Any = get_command(app)
    rest = list(words)
    while hasattr(found, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in found.commands, words
        found = found.commands[rest.pop(0)]
    return found, rest


def test_there_are_pages() -> None:
    assert len(PAGES) >= 2


@pages
def test_its_commands_and_options_exist(page: Path) -> None:
    seen = 0
    for words in commands(page):
        command, rest = command_of(words)
        seen += 1
        if command.name in RAW:
            continue
        known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert given <= known, words
    assert seen


@pages
def test_its_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
