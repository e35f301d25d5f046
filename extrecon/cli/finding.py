"""What one of `extrecon doctor`'s checks finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text

from extrecon import __version__
from extrecon.cli.console import console

State = Literal["good", "note", "bad"]
_COLOURS = {"good": "green", "note": "yellow", "bad": "red"}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    what : the thing looked at
    state : "good", "note" (works, but look here) or "bad" (a refinement would fail)
    found : what was found
    advice : what to do; empty if nothing
    """

    what: str
    state: State
    found: str
    advice: str = ""


def guarded(what: str, check: Callable[[], Finding | Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; whatever it raises becomes a red line, for a doctor must not fall ill."""
    try:
        found = check()
        yield from [found] if isinstance(found, Finding) else found
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is, it is what the user came to hear of
        yield Finding(
            what, "bad", f"{type(error).__name__}: {error}", "reinstall what it names, or mend that place"
        )


def show(findings: Sequence[Finding]) -> None:
    """Print the findings as a table."""
    table = Table(title=f"extrecon {__version__}", title_justify="left")
    for column in ("", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        # Not as markup: what was found may hold any brackets.
        table.add_row(Text(finding.what, _COLOURS[finding.state]), Text(finding.found), Text(finding.advice))
    console.print(table)
