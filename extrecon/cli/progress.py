"""What `extrecon watch` and `extrecon run` show of a refinement: a table, or a line an event."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from extrecon.cli.console import console
from extrecon.cli.disk import bytes_text
from extrecon.relion import telling
from extrecon.relion.history import CallName, Iteration, RefinementFolder

_COLOURS = {"regularized": "green", "fallback": "bold red", "failed": "bold red", "unfinished": "yellow"}
_WORDS = {"fallback": "PLAIN (FAILED)", "failed": "NO MAP", "unfinished": "at work"}
MOST_WARNINGS, MOST_COLUMNS = 8, 6
_BESIDE_CALLS, _LEAST_COLUMN, _BETWEEN = 45, 11, 3


def table(iterations: Sequence[Iteration], title: str, most_rows: int | None = None) -> Table:
    """Return the refinement as a table: order, resolution per half, what each call did and how long it took."""
    columns = _columns(iterations)
    is_three_dimensional = any(i.healpix_order is not None for i in iterations) or len(iterations) < 2
    are_many = len(columns) > MOST_COLUMNS or _width(columns) > console.width
    shown = Table(title=Text(title), title_justify="left")  # a folder's name is no markup
    for name in ("it", "order", *(f"Å {_half(half)}" for half in _halves(iterations))):
        shown.add_column(name, justify="right")
    for name in [f"{len(columns)} calls"] if are_many else [call.label for call in columns]:
        shown.add_column(name)
    shown.add_column("s a call", no_wrap=True)
    for iteration in iterations[-most_rows:] if most_rows else iterations:
        shown.add_row(
            str(iteration.number),
            order_text(iteration) if is_three_dimensional else "–",
            *(_resolution(iteration, half) for half in _halves(iterations)),
            *([_counted(iteration, columns)] if are_many else [_outcome(iteration, call) for call in columns]),
            _seconds(iteration),
        )
    return shown


def stage_table(iterations: Sequence[Iteration]) -> Table | None:
    """Return where the time of the last iteration with a record went; None if there is none yet."""
    last = next((i for i in reversed(iterations) if i.records), None)
    if last is None:
        return None
    calls = sorted(last.records, key=str)
    names = list(dict.fromkeys(name for call in calls for name in last.records[call].get("seconds", {})))
    shown = Table(title=f"Seconds a stage, iteration {last.number}", title_justify="left")
    shown.add_column("")
    for name in names:
        shown.add_column(Text(name), justify="right")
    for call in calls:
        seconds = last.records[call].get("seconds", {})
        shown.add_row(call.label, *(f"{seconds[name]:.2f}" if name in seconds else "" for name in names))
    return shown


def given_lines(iterations: Sequence[Iteration], most: int | None = None) -> list[tuple[str, str]]:
    """Return what each half was given and why, a line with its style for what repeats.

    Parameters
    ----------
    most : show only the last so many, and of those that failed the last `MOST_WARNINGS`; None: all
    """
    parts = telling.given(iterations)
    shown = set(range(len(parts)))
    if most:
        harmed = [place for place, part in enumerate(parts) if part.outcome in telling.HARM]
        shown = {*harmed[-MOST_WARNINGS:], *range(len(parts))[-most:]}
    lines = [
        (str(parts[place]), "bold red" if parts[place].outcome in telling.HARM else "dim")
        for place in sorted(shown)
    ]
    hidden = len(parts) - len(shown)
    return [*([(f"{hidden} earlier lines are not shown", "dim")] if hidden else []), *lines]


def fsc_lines(iterations: Sequence[Iteration], width: int = 0) -> list[str]:
    """Return how the FSC has moved in the last iteration, and under which mask if that changes as well.

    Parameters
    ----------
    width : draw both curves as bars of so many characters; 0 for none
    """
    changes, mask = telling.fsc_changes(iterations), telling.drawn_mask(iterations)
    of_mask = [mask] if mask else []
    if not changes:
        return of_mask
    last = changes[-1]
    curves = [
        f"FSC it{iteration.number:03d} {telling.sparkline(iteration.half_map_fsc[1:], width)}"
        for iteration in ((last.before, last.now) if width else ())
    ]
    return [*curves, str(last), *of_mask]


def disk_use(refinement: RefinementFolder) -> str | None:
    """Return what the accumulators take on the disk, and what is left there; None if there are none."""
    files, size = refinement.accumulators()
    if not files:
        return None
    try:
        left = f"; {bytes_text(shutil.disk_usage(refinement.folder).free)} free"
    except OSError:
        left = ""
    return f"accumulators: {files} files, {bytes_text(size)}{left}"


def lines(iterations: Sequence[Iteration]) -> Iterator[tuple[object, str]]:
    """Yield a line for each thing that has happened, each with a key that tells it from the others."""
    changes = {change.now.number: change for change in telling.fsc_changes(iterations)}
    for iteration in iterations:
        where = f"it{iteration.number:03d}"
        for call, record in sorted(iteration.records.items(), key=str):
            if record.get("outcome") == "unfinished":
                continue
            seconds = sum(record.get("seconds", {}).values())
            told = telling.told_of(record)
            key = (iteration.number, call, record.get("outcome"))
            yield key, f"{where} {call.label}: {told} ({record.get('reason')}), {seconds:.1f} s"
            for warning in record.get("warnings", ()):
                yield (*key, warning), f"{where} {call.label}: warning: {warning}"
        yield from telling.alarms([iteration])
        if iteration.resolution_angstrom and iteration.healpix_order is not None:
            found = ", ".join(
                f"{_half(h)} " + (f"{r:.2f} Å" if math.isfinite(r) else "–")
                for h, r in sorted(iteration.resolution_angstrom.items(), key=str)
            )
            yield (iteration.number, "resolution"), f"{where}: HEALPix order {iteration.healpix_order}, {found}"
            if iteration.number in changes:
                yield (iteration.number, "FSC"), str(changes[iteration.number])


def _columns(iterations: Sequence[Iteration]) -> list[CallName]:
    """Return the calls that get a column; the joined one shares half1's, for it stands alone in its iteration."""
    calls = {call for i in iterations for call in (*i.calls, *i.records)}
    halves = {call for call in calls if call.half}
    return sorted(halves or calls, key=str)


def _halves(iterations: Sequence[Iteration]) -> list[int | None]:
    found = {half for i in iterations for half in i.resolution_angstrom}
    split = [half for half in (1, 2) if half in found]
    return list(split) or [None]


def _half(half: int | None) -> str:
    return f"half{half}" if half else "all"


def order_text(iteration: Iteration) -> str:
    """Return the HEALPix order, marked where the search was local."""
    order, local = iteration.healpix_order, iteration.local_healpix_order
    if order is None:
        return "…"
    return f"{order} local" if local is not None and order >= local else str(order)


def _resolution(iteration: Iteration, half: int | None) -> str:
    found = iteration.resolution_angstrom
    # The joined iteration has one resolution for both.
    value = found.get(half, found.get(None))
    if value is None:
        return "…"
    return f"{value:.2f}" if math.isfinite(value) else "–"


def _width(columns: Sequence[CallName]) -> int:
    """Return how many letters the table takes if nothing in it is cut."""
    return _BESIDE_CALLS + sum(max(len(call.label), _LEAST_COLUMN) + _BETWEEN for call in columns)


def _counted(iteration: Iteration, calls: Sequence[CallName]) -> Text:
    """Return how many of an iteration's calls were given what, where each would need a column."""
    outcomes = [outcome for outcome in (_outcome(iteration, call) for call in calls) if outcome.plain]
    kinds = {outcome.plain: outcome for outcome in outcomes}
    told = [Text(f"{[o.plain for o in outcomes].count(word)} {word}", style=kinds[word].style) for word in kinds]
    return Text(", ").join(told)


def _outcome(iteration: Iteration, call: CallName) -> Text:
    record = iteration.records.get(call)
    if record is None and call.half == 1:
        joined = CallName(None, call.kind, call.number)
        if joined in iteration.records:
            return Text(f"joined: {_word(iteration.records[joined])}")
        if joined in iteration.unserved:
            return Text("NOT EXTRECON", style="bold red")
    if record is None and iteration.is_uncalled:
        return Text("NO CALL", style="bold red")
    if record is None:
        missing = call in iteration.unserved
        return Text("NOT EXTRECON" if missing else "", style="bold red" if missing else "")
    return Text(_word(record), style=_COLOURS.get(str(record.get("outcome")), ""))


def _word(record: Mapping[str, Any]) -> str:
    outcome = str(record.get("outcome"))
    if outcome == "regularized":
        return str((record.get("regularizer") or {}).get("name", outcome))
    return _WORDS.get(outcome, outcome)


def _seconds(iteration: Iteration) -> str:
    calls = sorted(iteration.records, key=str)
    took = [sum(iteration.records[call].get("seconds", {}).values()) for call in calls]
    if len(took) > MOST_COLUMNS:
        return f"{min(took):.1f} to {max(took):.1f}"
    return " / ".join(f"{seconds:.1f}" for seconds in took)
