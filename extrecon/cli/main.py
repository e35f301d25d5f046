"""``extrecon``: gathers the commands and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import cleandoc
from io import TextIOWrapper
from typing import Annotated

import typer
from rich.markup import escape

from extrecon import __version__
from extrecon.cli import doctor
from extrecon.cli.console import errors
from extrecon.errors import ExtreconError
from extrecon.system.memory import keep_freed_memory

_TRANSFORMING = ("reconstruct", "regularize", "local-resolution", "validate", "relion-job")

app = typer.Typer(
    help="The regularizer that runs inside RELION, and its tools.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"token_normalize_func": lambda word: word.replace("_", "-")},  # --fsc_cutoff is --fsc-cutoff
)


def _add(name: str) -> None:
    """Add a command; one whose packages are missing or broken says so when it is called, and harms no other."""
    try:
        module = import_module(f"extrecon.cli.{name.replace('-', '_')}")
    except Exception as error:  # noqa: BLE001  a broken library raises anything
        _add_broken(name, error)
    else:
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            own_class = getattr(module, "RawCommand", None)
            app.command(name, cls=own_class, help=_unwrapped(module.command.__doc__))(module.command)


def _unwrapped(docstring: str | None) -> str:
    """Return help text a line a paragraph: the terminal's width says where lines end, not the source's."""
    paragraphs = cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


def _add_broken(name: str, error: Exception) -> None:
    told = f"'extrecon {name}' cannot be used here: {type(error).__name__}: {error}. `extrecon doctor` tells more."

    def broken() -> None:
        raise ExtreconError(told) from error

    app.command(
        name,
        help="Cannot be used here.",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(broken)


for _name in (
    "reconstruct",
    "regularize",
    "local-resolution",
    "mask",
    "simulate",
    "compare",
    "validate",
    "regularizers",
    "relion-job",
    "new-regularizer",
):
    _add(_name)
app.command("doctor", help=_unwrapped(doctor.command.__doc__))(doctor.command)
for _name in ("run", "watch", "daemon"):
    _add(_name)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"extrecon {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The regularizer that runs inside RELION, and its tools."""  # noqa: D401  shown as help text


def main() -> None:
    """Run the program; an error that was foreseen is one line on standard error, not a traceback."""
    if sys.argv[1:2] and sys.argv[1] in _TRANSFORMING:
        keep_freed_memory()  # this process is the command's own, to its end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be what the terminal cannot show
    try:
        app()
    except ExtreconError as error:
        errors.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
