"""``extrecon report``: the page of a refinement, from its files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from extrecon.cli.console import console, errors, progress_bar
from extrecon.errors import InputError
from extrecon.relion.account import Account, account_of
from extrecon.relion.history import RefinementFolder


def command(
    folder: Annotated[Path, typer.Argument(metavar="JOBDIR", help="Where RELION wrote the refinement.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.html", help="The page; else in JOBDIR.")
    ] = None,
) -> None:
    """Write one page about a refinement: what was run, what each half was given and why, FSC, maps, warnings.

    It needs no other file and reads files alone, so it also works on a job that still runs, that was stopped, or
    that ran without extrecon. JOBDIR/extrecon_maps.cxc opens the maps in ChimeraX.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder.")
    account = account_of(RefinementFolder(folder))
    if not account.iterations:
        raise InputError(f"{folder}: holds no refinement; RELION's files are named …_it000_….star.")
    write(account, output or default_page(account))


def default_page(account: Account) -> Path:
    """Return where the page goes, beside RELION's results."""
    return account.folder / (f"{account.root}_extrecon.html" if account.root else "extrecon.html")


def write(account: Account, page: Path) -> None:
    """Write the page and the script for ChimeraX, and say where they are.

    Raises
    ------
    OutputError : the page cannot be written.
    """
    from extrecon.pictures.refinement_page import write_report

    with progress_bar() as progress:
        report = write_report(page, account, progress)
    console.print(f"report: {report.page}", highlight=False, soft_wrap=True, markup=False)
    if report.script is not None:
        console.print(f"ChimeraX: {report.script}", highlight=False, soft_wrap=True, markup=False)
    for note in report.notes:
        errors.print(f"warning: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
