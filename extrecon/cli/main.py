"""``extrecon``: gathers the commands and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import cleandoc
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from extrecon import __version__
from extrecon.errors import ExtreconError
from extrecon.system.memory import keep_freed_memory

_TRANSFORMING = ("reconstruct", "regularize", "local-resolution", "validate", "relion-job")

COMMANDS = {
    "reconstruct": "Reconstruct the half-map of one external-reconstruction STAR file, as RELION would.",
    "regularize": "Regularize a map, or two half-maps, each by itself so that they stay independent.",
    "local-resolution": "Estimate the local resolution of a map, or of the mean of two half-maps.",
    "mask": "Make a soft mask of the particle for RELION's --solvent_mask, and tell what it does to the FSC.",
    "simulate": "Make particles whose truth is known.",
    "compare": "Refine particles with RELION, once for each arm and seed, and score the runs.",
    "validate": "Score a map, two half-maps, or a finished RELION refinement.",
    "regularizers": "List the regularizers and local-resolution methods, or one's parameters for --set.",
    "relion-job": "Be a job of type External in RELION's window: relion-job "
    "regularize|local-resolution|validate ….",
    "new-regularizer": "Make a package with a regularizer that works, its settings and its tests, to be made one's "
    "own.",
    "doctor": "Check Python, torch, the device, RELION, the variable, the disk and the regularizers, and say "
    "what to do.",
    "run": "Run RELION with extrecon: extrecon run HOOK-OPTIONS -- mpirun -n 3 relion_refine_mpi ….",
    "watch": "Show iteration, HEALPix order, resolution, and what each half was given and why.",
    "report": "Write one page about a refinement: what was run, what each half was given and why, FSC, maps, "
    "warnings.",
    "daemon": "Start, stop and look at the warm daemon that does the hook's work.",
}
"""What each command does: the first sentence of its own help."""

app = typer.Typer(
    help="The regularizer that runs inside RELION, and its tools.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"token_normalize_func": lambda word: word.replace("_", "-")},  # --fsc_cutoff is --fsc-cutoff
)


class _Later(TyperCommand):
    """A command whose file is imported when it is called: `extrecon --help` need not wait for them all.

    One whose packages are missing or broken says so then, and harms no other.
    """

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Go on as the command itself."""
        return real_command(str(self.name)).make_context(info_name, args, parent, **extra)


def real_command(name: str) -> Any:
    """Import a command, or group of commands.

    Raises
    ------
    ExtreconError : its packages are missing or broken.
    """
    try:
        module = import_module(f"extrecon.cli.{name.replace('-', '_')}")
    except Exception as error:  # a broken library raises anything
        told = (
            f"'extrecon {name}' cannot be used here: {type(error).__name__}: {error}. `extrecon doctor` tells more."
        )
        raise ExtreconError(told) from error
    holder = typer.Typer(add_completion=False, rich_markup_mode="rich")
    holder.callback()(lambda: None)  # makes it a group, whatever it holds
    if hasattr(module, "app"):
        holder.add_typer(module.app, name=name)
    else:
        own_class = getattr(module, "RawCommand", None)
        holder.command(name, cls=own_class, help=_unwrapped(module.command.__doc__))(module.command)
    group: Any = typer.main.get_command(holder)
    return group.commands[name]


def _unwrapped(docstring: str | None) -> str:
    """Return help text a line a paragraph: the terminal's width says where lines end, not the source's."""
    paragraphs = cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


for _name, _summary in COMMANDS.items():
    app.command(_name, cls=_Later, help=_summary)(lambda: None)


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
        from rich.markup import escape

        from extrecon.cli.console import errors

        errors.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
