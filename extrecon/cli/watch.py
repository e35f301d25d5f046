"""``extrecon watch``: what a refinement is doing, from its files alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from extrecon.cli import progress
from extrecon.cli.console import console
from extrecon.errors import InputError
from extrecon.relion import telling
from extrecon.relion.history import RefinementFolder
from extrecon.relion.watching import Waiting

LOOK_SECONDS = 2.0
_ROWS_BESIDE_TABLE = 22
_GIVEN_LINES, _FSC_BARS = 4, 60


def command(
    folder: Annotated[Path, typer.Argument(metavar="JOBDIR", help="Where RELION writes the refinement.")],
    once: Annotated[bool, typer.Option("--once", help="Show what there is now and leave.")] = False,
) -> None:
    """Show iteration, HEALPix order, resolution, and what each half was given and why.

    A live table on a terminal, a line an event elsewhere. It reads files alone, so it also works on a finished job
    and from another host.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder.")
    refinement = RefinementFolder(folder)
    if once and not refinement.iterations():
        raise InputError(f"{folder}: holds no refinement; RELION's files are named …_it000_….star.")
    try:
        follow(refinement, lambda: once or refinement.is_finished())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def follow(refinement: RefinementFolder, is_over: Callable[[], bool], *, transient: bool = False) -> None:
    """Show a refinement until ``is_over`` says that it is; ``transient`` clears a live table away at the end."""
    if console.is_terminal:
        _follow_live(refinement, is_over, transient)
    else:
        _follow_in_lines(refinement, is_over)


def _follow_live(refinement: RefinementFolder, is_over: Callable[[], bool], transient: bool) -> None:
    with (
        Live(console=console, refresh_per_second=2, transient=transient) as live,
        Waiting(refinement.folder) as waiting,
    ):
        while True:
            over = is_over()
            live.update(view(refinement, None if over else console.height))
            if over:
                return
            waiting.wait(LOOK_SECONDS)
            time.sleep(0.2)  # events come in bursts


def _follow_in_lines(refinement: RefinementFolder, is_over: Callable[[], bool]) -> None:
    said: set[object] = set()
    with Waiting(refinement.folder) as waiting:
        while True:
            over = is_over()
            for key, line in progress.lines(refinement.iterations()):
                if key not in said:
                    said.add(key)
                    console.print(line, highlight=False, soft_wrap=True, markup=False)
            if over:
                used = progress.disk_use(refinement)
                if used is not None:
                    console.print(used, highlight=False, soft_wrap=True, markup=False)
                return
            waiting.wait(LOOK_SECONDS)


def view(refinement: RefinementFolder, height: int | None = None) -> Group:
    """Return all that is shown of a refinement; of its last iterations if the terminal's ``height`` is given."""
    iterations, title = refinement.iterations(), str(refinement.folder)
    rows = max(5, height - _ROWS_BESIDE_TABLE) if height else None
    parts: list[object] = [progress.table(iterations, title, rows)]
    stages = progress.stage_table(iterations)
    if stages is not None:
        parts.append(stages)
    parts += [Text(line, style="dim") for line in progress.fsc_lines(iterations, _FSC_BARS)]
    told = progress.given_lines(iterations, _GIVEN_LINES if height else None)
    parts += [Text(line, style=style) for line, style in told or [("no call of extrecon-hook yet", "dim")]]
    used = progress.disk_use(refinement)
    if used is not None:
        parts.append(Text(used, style="dim"))
    found = telling.warnings(iterations)
    parts += [Text(f"warning: {text}", style="yellow") for text in found[: progress.MOST_WARNINGS]]
    if len(found) > progress.MOST_WARNINGS:
        parts.append(
            Text(f"and {len(found) - progress.MOST_WARNINGS} more warnings, in the records", style="yellow")
        )
    return Group(*parts)  # type: ignore[arg-type]
