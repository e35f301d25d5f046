"""The program starts without what it may not need: a list of commands takes a quarter of a second, not over one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from extrecon.cli.main import COMMANDS, app, real_command

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"gemmi", "matplotlib", "mrcfile", "numpy", "psutil", "scipy", "torch", "watchdog"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["daemon", "status"]], ids=" ".join)
def test_what_needs_no_numbers_imports_none(words: list[str]) -> None:
    program = (
        "import sys; from extrecon.cli.main import main\ntry: main()\n"
        "except SystemExit: pass\nprint(*{m.partition('.')[0] for m in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    imported = set(ran.stdout.splitlines()[-1].split())
    assert "typer" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_each_command_what_its_own_help_does(name: str) -> None:
    told = str(real_command(name).help)
    assert COMMANDS[name] == " ".join(told.split("\n\n", maxsplit=1)[0].split())


def test_every_command_is_listed() -> None:
    modules = [path for path in (ROOT / "extrecon" / "cli").glob("*.py") if path.name != "main.py"]
    defining = ("\ndef command(", "\napp = typer.Typer(")
    commands = {path.stem.replace("_", "-") for path in modules if any(d in path.read_text() for d in defining)}
    assert set(COMMANDS) == commands
    group: typer.core.TyperGroup = typer.main.get_command(app)  # type: ignore[assignment]
    assert set(group.commands) == commands
