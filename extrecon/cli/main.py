"""``extrecon``: gathers the commands and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from extrecon import __version__
from extrecon.cli import (
    compare,
    daemon,
    doctor,
    local_resolution,
    reconstruct,
    regularize,
    regularizers,
    run,
    simulate,
    validate,
    watch,
)
from extrecon.cli.console import errors
from extrecon.errors import ExtreconError

app = typer.Typer(
    help="The regularizer that runs inside RELION, and its tools.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("reconstruct")(reconstruct.command)
app.command("regularize")(regularize.command)
app.command("local-resolution")(local_resolution.command)
app.command("simulate")(simulate.command)
app.command("compare")(compare.command)
app.command("validate")(validate.command)
app.command("regularizers")(regularizers.command)
app.command("doctor")(doctor.command)
app.command("run", cls=run.RawCommand)(run.command)
app.command("watch")(watch.command)
app.add_typer(daemon.app, name="daemon")


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
    try:
        app()
    except ExtreconError as error:
        errors.print(f"[bold red]Error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
