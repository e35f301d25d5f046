"""The report of a refinement: one page that needs no other file, and a script that opens its maps in ChimeraX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from extrecon import __version__
from extrecon.errors import OutputError
from extrecon.pictures import chimerax, refinement_plots, refinement_tables
from extrecon.pictures.methods import methods
from extrecon.pictures.page import (
    Content,
    Html,
    alert,
    cards,
    element,
    joined,
    listing,
    paragraph,
    picture,
    section,
    write_page,
)
from extrecon.pictures.shown_maps import Look, Pair, looks_at, mask_of, pairs_of
from extrecon.pictures.slices import AXES, enlarged, grey_limits, grey_png
from extrecon.relion.account import Account
from extrecon.relion.history import Iteration
from extrecon.relion.telling import angstrom, call_order, fsc_changes, harm, warnings

SCRIPT_NAME = "extrecon_maps.cxc"
Progress = Callable[[str, float], None]
"""Takes a stage and the fraction of it that is done. As a regularizer's, which would load all that transforms."""


def _silent(_stage: str, _fraction: float) -> None:
    """Take no notice."""


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes
    ----------
    page : of HTML
    script : for ChimeraX; None if there was no map to open, or it could not be written
    notes : sentences on what is missing
    """

    page: Path
    script: Path | None
    notes: Sequence[str]


def write_report(path: Path, account: Account, progress: Progress = _silent) -> Report:
    """Write the page of a refinement, and beside its maps the script that opens them.

    Parameters
    ----------
    path : of the page
    account : the refinement; at least one iteration
    progress : gets stages and fractions

    Raises
    ------
    OutputError : the page cannot be written.
    """
    pairs, left_out = pairs_of(account)
    looks, notes = looks_at(pairs, account, lambda fraction: progress("read maps", fraction))
    levels = chimerax.level_told(account, pairs)
    script = _script(account, chimerax.maps_to_open(pairs, looks, mask_of(pairs, account.folder)), levels, notes)
    progress("draw", 0.0)
    maps = _Maps(pairs, looks, left_out, levels, script, tuple(notes))
    content = [*_head(account), *_body(account, maps, progress), _foot(account)]
    progress("draw", 1.0)
    write_page(path, f"Refinement {account.name}", *content)
    return Report(path, script, notes)


def _script(account: Account, opened: Sequence[chimerax.Opened], levels: str, notes: list[str]) -> Path | None:
    """Write the script, and add to the notes what it cannot do; the page is worth having without it."""
    path = account.folder / SCRIPT_NAME
    told = (f"Maps of {account.name}: open this file in a fresh ChimeraX.", f"Contours: {levels}.")
    try:
        notes += chimerax.write_script(path, opened, told) if opened else []
    except OutputError as error:
        notes.append(str(error))
        return None
    return path if opened else None


@dataclass(frozen=True)
class _Maps:
    """The maps that the page shows, what is seen of them, and what must be said of them."""

    pairs: Sequence[Pair]
    looks: Mapping[Path, Look]
    left_out: int
    levels: str
    script: Path | None
    notes: Sequence[str]


def _head(account: Account) -> list[Html]:
    """Return the title, what must not be missed, and the numbers that matter most."""
    found = warnings(account.iterations)
    parts = [
        element("h1", f"Refinement {account.name}"),
        paragraph(f"{account.kind}, {len(account.iterations)} iterations on record", class_="soft"),
        *_state(account),
    ]
    if harmed := harm(account.iterations):
        told = "RELION went on without what was asked for in these calls:"
        parts.append(alert("bad", element("b", told), listing(harmed)))
    parts.append(_cards(account, len(found)))
    if found:
        title = f"{len(found)} warning{'s' if len(found) > 1 else ''} from RELION's calls"
        parts.append(alert("warn", element("b", title), listing(found)))
    return parts


def _state(account: Account) -> list[Html]:
    """Return boxes on how the refinement stands, where that is not as it should be."""
    parts = []
    if not account.is_finished:
        told = "This refinement is not finished: it is running, was stopped, or failed. "
        told += "What follows is what its files tell so far."
        parts.append(alert("warn", element("b", told), f" {account.ending}." if account.ending else ""))
    if not account.is_hook_called:
        told = "RELION made no external call: it reconstructed every map by itself, and extrecon had no part in it."
        parts.append(alert("note", told))
    elif not account.has_hook:
        told = "RELION made external calls, but extrecon-hook served none of them: another program did, or its "
        parts.append(alert("bad", told + "records are gone."))
    elif not _outcomes(account).get("regularized") and not _has_regularized_beside(account):
        parts.append(alert("note", "No map was regularized; the reasons stand below."))
    if not account.is_split:
        told = (
            f"This is no refinement of half sets ({account.kind}): there is no half-map FSC, nor resolution by it."
        )
        parts.append(alert("note", told))
    return parts


def _has_regularized_beside(account: Account) -> bool:
    return any(
        record.get("joined") and record.get("regularizer") for _, _, record in call_order(account.iterations)
    )


def _outcomes(account: Account) -> dict[str, int]:
    found: dict[str, int] = {}
    for _, _, record in call_order(account.iterations):
        found[str(record.get("outcome"))] = found.get(str(record.get("outcome")), 0) + 1
    return found


def _cards(account: Account, warned: int) -> Html:
    last = next((i for i in reversed(account.iterations) if _finite(i)), None)
    facts: list[tuple[str, str, str]] = []
    if last is not None:
        what = (
            "final resolution" if account.is_finished and account.is_split else f"resolution in it{last.number:03d}"
        )
        facts.append((angstrom(min(_finite(last))), what, ""))
    facts.append((str(account.iterations[-1].number), "last iteration", ""))
    records = [record for _, _, record in call_order(account.iterations)]
    if records:
        outcomes = _outcomes(account)
        failed = outcomes.get("fallback", 0) + outcomes.get("failed", 0)
        done = outcomes.get("regularized", 0)
        facts.append((f"{done} of {len(records)}", "calls regularized", "good" if done else ""))
        facts.append((str(failed), "calls in which the regularizer failed", "bad" if failed else ""))
        facts.append((str(warned), "warning" if warned == 1 else "warnings", "warn" if warned else ""))
        seconds = sum(sum(record.get("seconds", {}).values()) for record in records)
        facts.append((_duration(seconds), "work of extrecon, all calls together", ""))
        memory = [m for record in records if isinstance(m := record.get("peak_memory_megabytes"), int | float)]
        facts += [(f"{max(memory):.0f} MB", "most memory of a call", "")] if memory else []
    return cards(facts)


def _finite(iteration: Iteration) -> list[float]:
    return [value for value in iteration.resolution_angstrom.values() if math.isfinite(value) and value > 0]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _body(account: Account, maps: _Maps, progress: Progress) -> list[Html]:
    iterations = account.iterations
    changes = fsc_changes(iterations)
    change = changes[-1] if changes else None
    last = iterations[-1]
    final = last if account.is_finished and account.is_split and last.half_map_fsc else None
    course = refinement_plots.course(iterations)
    progress("draw", 0.3)
    fsc = refinement_plots.fsc(iterations, change, final)
    progress("draw", 0.5)
    plots = element("div", course, fsc, class_="plots")
    told = paragraph(str(change) + ".") if change else Html("")
    parts = [
        section("Course", plots, told),
        section("What each half was given, and why", refinement_tables.what_was_given(iterations)),
        section("Maps", *_slices(maps)),
        section("Treatment", refinement_tables.treatment(maps.pairs)),
        section("Shells, time and memory", *_shells_and_cost(account, maps)),
    ]
    progress("draw", 0.9)
    parts += [
        section("For a methods section", *_methods(account)),
        section("What was run", *_run(account)),
        section("All calls", refinement_tables.all_calls(iterations), refinement_tables.tracebacks(iterations)),
    ]
    return parts


def _slices(maps: _Maps) -> list[Content]:
    parts: list[Content] = []
    for pair in maps.pairs:
        shown = [path for path in (pair.plain, pair.regularized) if path in maps.looks]
        if shown:
            parts += [element("h3", _title(pair)), _slices_of(pair, maps)]
    if maps.left_out:
        parts.append(paragraph(f"{maps.left_out} more calls are not shown.", class_="soft"))
    parts += [alert("warn", note) for note in maps.notes]
    if parts:
        told = "Central slices. Plain and regularized share one grey scale, from black at their 1st percentile to "
        told += "white at their 99.8th; between voxels they are enlarged through the Fourier transform."
        parts.append(paragraph(told, class_="soft"))
    if maps.script is not None:
        told = f"{maps.script.name} opens these maps in ChimeraX, as they were written ({maps.levels})."
        parts.append(paragraph(told, class_="soft"))
    return parts


def _title(pair: Pair) -> str:
    name = refinement_tables.mapping(pair.record.get("regularizer")).get("name")
    if pair.regularized is None:
        return f"{pair.label}: plain map"
    beside = "; RELION went on with the plain one" if pair.call.half is None and pair.record.get("joined") else ""
    return f"{pair.label}: plain, and regularized with {name}{beside}"


def _slices_of(pair: Pair, maps: _Maps) -> Html:
    """Return the slices of a pair, plain and regularized beside each other for each axis."""
    looks = [(what, maps.looks[path]) for what, path in _named(pair) if path in maps.looks]
    limits = grey_limits([plane for _, look in looks for plane in look.slices])
    images = []
    for axis, name in enumerate(AXES):
        for what, look in looks:
            png = grey_png(enlarged(look.slices[axis]), limits)
            told = f"{what}, across {name}"
            images.append(picture(png, f"{pair.label}, {told}", told))
    return element("div", *images, class_="slices" if len(looks) > 1 else "slices single")


def _named(pair: Pair) -> list[tuple[str, Path]]:
    return [("plain", pair.plain), *([("regularized", pair.regularized)] if pair.regularized else [])]


def _shells_and_cost(account: Account, maps: _Maps) -> list[Html]:
    curves = {}
    for pair in maps.pairs:
        if pair.regularized is not None:
            treated, judged = (refinement_tables.mapping(pair.record.get(f)) for f in ("treatment", "safeguards"))
            weights = refinement_tables.floats(treated.get("weights"))
            scale = refinement_tables.floats(judged.get("shell_scale"))
            curves[pair.call] = {"weights": weights, "shell_scale": scale}
    sizes = [i.pixel_size_angstrom for i in account.iterations if i.pixel_size_angstrom]
    shells = refinement_plots.shells(curves, sizes[-1]) if sizes and curves else Html("")
    cost = refinement_plots.cost(account.iterations)
    return [element("div", shells, cost, class_="plots")] if shells or cost else []


def _methods(account: Account) -> list[Html]:
    text, references = methods(account)
    numbered = joined(element("li", reference) for reference in references)
    quote = element("blockquote", paragraph(text), element("ol", numbered))
    return [
        quote,
        paragraph("Made from the records; check it against what you did before you print it.", class_="soft"),
    ]


def _run(account: Account) -> list[Content]:
    parts: list[Content] = []
    for start in account.starts:
        version = f"RELION {start.version}" if start.version else "RELION, version unknown"
        parts.append(paragraph(f"{version}, by the head of {start.file}:"))
        parts.append(element("pre", start.options or "(no options told)"))
    versions = dict.fromkeys(
        str(found) for _, _, record in call_order(account.iterations) if (found := record.get("extrecon"))
    )
    if versions:
        parts.append(paragraph(f"extrecon {', '.join(versions)} served the calls."))
    parts.append(refinement_tables.settings(account.iterations))
    return parts


def _foot(account: Account) -> Html:
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    told = f"Written by extrecon {__version__} on {when} from the files in {account.folder.absolute()}."
    return element("footer", told)
