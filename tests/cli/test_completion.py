"""What the shell offers when Tab is pressed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app

PROGRAM = str(Path(sys.executable).with_name("extrecon"))


def offered(line: str) -> list[str]:
    words = line.split(" ")
    told = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_EXTRECON_COMPLETE": "complete_bash"}
    ended = CliRunner().invoke(app, [], prog_name="extrecon", env=told)
    assert ended.exit_code == 0, ended.output
    return ended.output.split()


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("extrecon new", "new-regularizer"),
        ("extrecon regularize --loc", "--local-resolution"),
        ("extrecon regularize --regularizer local", "localdeblur"),
        ("extrecon local-resolution --method dee", "deepres"),
        ("extrecon regularizers mono", "monores"),
    ],
)
def test_what_begins_so_is_offered(line: str, word: str) -> None:
    assert offered(line) == [word]


def test_commands_of_raw_words_offer_nothing_and_say_nothing() -> None:
    assert offered("extrecon relion-job regu") == []
    assert offered("extrecon run --regu") == []


def test_the_program_answers_the_shell() -> None:
    told = {"COMP_WORDS": "extrecon doc", "COMP_CWORD": "1", "_EXTRECON_COMPLETE": "complete_bash"}
    ran = subprocess.run(
        [PROGRAM], env={**os.environ, **told}, capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split() == ["doctor"]
