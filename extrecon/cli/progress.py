"""What `extrecon watch` and `extrecon run` show of a refinement: a table, or a line an event."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from extrecon.relion.history import CallName, Iteration, RefinementFolder
from extrecon.relion.program import VARIABLE

_COLOURS = {"regularized": "green", "fallback": "bold red", "failed": "bold red", "unfinished": "yellow"}
_WORDS = {"fallback": "PLAIN (FAILED)", "failed": "NO MAP", "unfinished": "at work"}
MOST_WARNINGS = 8
_ANOTHERS = "reconstructed by RELION's own program, not by extrecon-hook"
_EVERY_RANK = f"is the variable set on every rank? With Open MPI: mpirun -x {VARIABLE}"


def table(iterations: Sequence[Iteration], title: str, most_rows: int | None = None) -> Table:
    """Return the refinement as a table: order, resolution per half, what each call did and how long it took."""
    columns = _columns(iterations)
    shown = Table(title=Text(title), title_justify="left")  # a folder's name is no markup
    for name in ("it", "order", *(f"Å {_half(half)}" for half in _halves(iterations))):
        shown.add_column(name, justify="right")
    for call in columns:
        shown.add_column(call.label)
    shown.add_column("s a call", no_wrap=True)
    for iteration in iterations[-most_rows:] if most_rows else iterations:
        shown.add_row(
            str(iteration.number),
            order_text(iteration),
            *(_resolution(iteration, half) for half in _halves(iterations)),
            *(_outcome(iteration, call) for call in columns),
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


def why(iterations: Sequence[Iteration]) -> str:
    """Return the last decision's reason."""
    last = next((i for i in reversed(iterations) if i.records), None)
    if last is None:
        return "no call of extrecon-hook yet"
    call = sorted(last.records, key=str)[0]
    return f"it{last.number:03d} {call.label}: {last.records[call].get('reason')}"


def warnings(iterations: Sequence[Iteration]) -> list[str]:
    """Return what the user must not miss, each once, with the first and the number of calls it is about."""
    first: dict[str, str] = {}
    count: dict[str, int] = {}
    for where, text in _all_warnings(iterations):
        first.setdefault(text, where)
        count[text] = count.get(text, 0) + 1
    return [f"{first[text]}: {text}" + (f" ({n} calls)" if n > 1 else "") for text, n in count.items()]


def _all_warnings(iterations: Sequence[Iteration]) -> Iterator[tuple[str, str]]:
    for iteration in iterations:
        if iteration.is_uncalled:
            yield f"it{iteration.number:03d}", f"RELION made no external call; {_uncalled_advice()}"
        for call in iteration.unserved:
            yield f"it{iteration.number:03d} {call.label}", f"{_ANOTHERS}: {_EVERY_RANK}"
        for call, record in sorted(iteration.records.items(), key=str):
            where = f"it{iteration.number:03d} {call.label}"
            if record.get("outcome") in ("fallback", "failed"):
                yield where, f"{_WORDS[record['outcome']]}: {record.get('reason')}"
            for warning in record.get("warnings", ()):
                yield where, str(warning)


def alarms(iterations: Sequence[Iteration]) -> Iterator[tuple[object, str]]:
    """Yield a line, with its key, for each thing that extrecon-hook cannot tell, since it was not called."""
    for iteration in iterations:
        where = f"it{iteration.number:03d}"
        for call in iteration.unserved:
            yield (iteration.root, where, call), f"{where} {call.label}: WARNING: {_ANOTHERS}: {_EVERY_RANK}"
        if iteration.is_uncalled:
            told = f"{where}: WARNING: RELION made no external call in {where}; {_uncalled_advice()}"
            yield (iteration.root, where), told


def _uncalled_advice() -> str:
    return "RELION 4.0.2 and later need --external_reconstruct again with --continue, and --blush wins over it"


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


def bytes_text(size: float) -> str:
    """Return a number of bytes for people."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e6:.1f} MB"


def lines(iterations: Sequence[Iteration]) -> Iterator[tuple[object, str]]:
    """Yield a line for each thing that has happened, each with a key that tells it from the others."""
    for iteration in iterations:
        where = f"it{iteration.number:03d}"
        for call, record in sorted(iteration.records.items(), key=str):
            if record.get("outcome") == "unfinished":
                continue
            seconds = sum(record.get("seconds", {}).values())
            told = _told(record)
            key = (iteration.number, call, record.get("outcome"))
            yield key, f"{where} {call.label}: {told} ({record.get('reason')}), {seconds:.1f} s"
            for warning in record.get("warnings", ()):
                yield (*key, warning), f"{where} {call.label}: warning: {warning}"
        yield from alarms([iteration])
        if iteration.resolution_angstrom and iteration.healpix_order is not None:
            found = ", ".join(
                f"{_half(h)} " + (f"{r:.2f} Å" if math.isfinite(r) else "–")
                for h, r in sorted(iteration.resolution_angstrom.items(), key=str)
            )
            yield (iteration.number, "resolution"), f"{where}: HEALPix order {iteration.healpix_order}, {found}"


def _told(record: Mapping[str, Any]) -> str:
    outcome = str(record.get("outcome"))
    if outcome == "regularized":
        return f"regularized with {(record.get('regularizer') or {}).get('name')}"
    return {"plain": "plain map", "fallback": "WARNING: PLAIN MAP RETURNED"}.get(outcome, "ERROR: no map returned")


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
    return " / ".join(f"{sum(iteration.records[c].get('seconds', {}).values()):.1f}" for c in calls)
