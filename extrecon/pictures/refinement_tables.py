"""The tables of a refinement's page: options, what was measured, and all calls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from extrecon.pictures.methods import weights_of
from extrecon.pictures.page import Content, Html, element, folded, joined, paragraph, table, tag
from extrecon.pictures.shown_maps import Pair
from extrecon.relion.history import CallName, Iteration
from extrecon.relion.telling import FOREIGN, UNCALLED, call_order, given, mask_told

Record = Mapping[str, Any]
_MOODS = {"regularized": "good", "fallback": "bad", "failed": "bad", FOREIGN: "bad", UNCALLED: "bad"}
_WORDS = {"fallback": "PLAIN (FAILED)", "failed": "NO MAP", "unfinished": "at work"}
_DEFAULT = "default"


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a record's field that should be a mapping; empty if it is something else."""
    return value if isinstance(value, Mapping) else {}


def text_of(value: Any) -> str:
    """Return a value of a record for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if value is None:
        return "–"
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def what_was_given(iterations: Sequence[Iteration]) -> Html:
    """Return what each half was given and why, a row for what repeats."""
    rows: list[list[Content]] = []
    for part in given(iterations):
        span = f"{part.first}" if part.first == part.last else f"{part.first}–{part.last}"
        rows.append([span, ", ".join(part.calls), tag(part.told, _MOODS.get(part.outcome, "")), part.reason])
    return table(rows, ("iteration", "call", "RELION was given", "why"), "stacked") if rows else Html("")


def settings(iterations: Sequence[Iteration]) -> Html:
    """Return the options with their origins, the regularizer's settings and its weights, by the last record."""
    records = [record for _, _, record in call_order(iterations) if mapping(record.get("options"))]
    if not records:
        return Html("")
    last = next((r for r in reversed(records) if mapping(r.get("regularizer"))), records[-1])
    regularizer = mapping(last.get("regularizer"))
    rows = [("regularizer", text_of(regularizer.get("name"))), ("its version", text_of(regularizer.get("version")))]
    rows += [(f"  {key}", text_of(value)) for key, value in mapping(regularizer.get("settings")).items()]
    weights = dict.fromkeys(found for r in records if (found := weights_of(r)))
    rows += [("weights, sha256", found) for found in weights]
    facts = mapping(last.get("facts"))
    rows += [("weights, file", text_of(facts["weights"]))] if weights and "weights" in facts else []
    left = element("div", element("h3", "Regularizer"), table(rows, kind="pairs"))
    right = element("div", element("h3", "Options"), *_options(records))
    return element("div", left, right, class_="plots")


def _options(records: Sequence[Record]) -> Iterator[Html]:
    """Yield the options that somebody gave, then the others; one that changed in the run says so."""
    last = records[-1]
    origins = mapping(last.get("origins"))
    rows: dict[bool, list[tuple[str, str, str]]] = {True: [], False: []}
    options = _flat(mapping(last.get("options")))
    for key, value in options.items():
        earlier = dict.fromkeys(text_of(_flat(mapping(record.get("options"))).get(key)) for record in records)
        told = text_of(value) + _changed(earlier, text_of(value))
        origin = text_of(origins.get(key, _DEFAULT))
        rows[origin != _DEFAULT or len(earlier) > 1].append((key.replace("_", "-"), told, origin))
    head = ("option", "value", "from")
    yield table(rows[True], head) if rows[True] else paragraph("All options are at their defaults.")
    if rows[False]:
        yield folded(f"{len(rows[False])} options at their defaults", table(rows[False], head))


def _changed(values: Mapping[str, None], last: str) -> str:
    others = [value for value in values if value != last]
    return f" (earlier in this run: {', '.join(others)})" if others else ""


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with the settings among them as ``set.NAME``."""
    own = {f"set.{key}": value for key, value in mapping(options.get("set")).items()}
    return {key: value for key, value in options.items() if key != "set"} | own


def treatment(pairs: Sequence[Pair]) -> Html:
    """Return how the last regularized map of each half was blended, flattened and judged, a column a call."""
    shown = [pair for pair in pairs if pair.regularized is not None and pair.record]
    rows: list[list[Content]] = []
    for told, find in _TREATMENT_ROWS:
        cells = [find(pair.record) for pair in shown]
        if any(cells):
            rows.append([told, *(cell or "–" for cell in cells)])
    return table(rows, ("", *(pair.label for pair in shown)), "pairs") if shown and rows else Html("")


def _of(field: str, key: str, unit: str = "") -> Any:
    def find(record: Record) -> str:
        value = mapping(record.get(field)).get(key)
        return "" if value is None else text_of(value) + unit

    return find


def _shift(record: Record) -> str:
    shift = mapping(record.get("safeguards")).get("shift_px")
    numbers = floats(shift)
    return f"{sum(value**2 for value in numbers) ** 0.5:.4f} px" if numbers else ""


_blend = _of("treatment", "blend")
_BLENDS = {"fsc": "by 1 − FSC", "confidence": "by confidence", "half": "half of each", "all": "all of it"}


def _other_half(record: Record) -> str:
    return text_of(record["other_half"]) if record.get("other_half") else ""


def _solvent_mask(record: Record) -> str:
    mask = mapping(record.get("solvent_mask"))
    if "left" in mask:
        return f"left as it was: {text_of(mask['left'])}"
    return mask_told(mask) if "file" in mask else ""


_TREATMENT_ROWS = (
    ("blended with the half-map", lambda record: _BLENDS.get(_blend(record), _blend(record))),
    ("solvent", _of("treatment", "solvent")),
    ("mask", lambda record: text_of(record["mask"]) if record.get("mask") else ""),
    ("mask's share of the box", _of("treatment", "mask_share")),
    ("last shell in which the halves agree", _of("treatment", "last_agreed_shell")),
    ("cut off after shell", _of("safeguards", "fsc_cutoff")),
    ("beyond it", _of("treatment", "finer_shells")),
    ("shift against the plain map", _shift),
    ("rotation against the plain map", _of("safeguards", "rotation_degrees", "°")),
    ("correlation over the signal's shells", _of("safeguards", "correlation")),
    ("largest gain of amplitude", _of("safeguards", "largest_amplitude_gain")),
    ("returned unchanged", _of("safeguards", "unchanged")),
    ("weighed against the Fourier data", _of("treatment", "data")),
    ("other half", _other_half),
    ("RELION's solvent mask", _solvent_mask),
)


def floats(value: Any) -> list[float]:
    """Return a record's list of numbers; empty if it is anything else."""
    if not isinstance(value, list) or not all(isinstance(part, int | float) for part in value):
        return []
    return [float(part) for part in value]


def all_calls(iterations: Sequence[Iteration]) -> Html:
    """Return every call, a row each."""
    rows = [_call_row(iteration, call, record) for iteration, call, record in call_order(iterations)]
    for iteration in iterations:
        rows += [[str(iteration.number), call.label, tag("NOT EXTRECON", "bad")] for call in iteration.unserved]
        if iteration.is_uncalled:
            rows.append([str(iteration.number), "", tag("NO CALL", "bad")])
    rows.sort(key=lambda row: int(row[0]))
    head = ("it", "call", "given", "why", "s", "stages, s", "MB", "where", "mask", "daemon", "warnings")
    padded = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    return folded(f"{len(rows)} calls", table(padded, head)) if rows else Html("")


def _call_row(iteration: Iteration, call: CallName, record: Record) -> list[Content]:
    seconds = record.get("seconds", {})
    outcome = str(record.get("outcome"))
    return [
        str(iteration.number),
        call.label,
        tag(_WORDS.get(outcome, outcome), _MOODS.get(outcome, "")),
        text_of(record.get("reason")),
        f"{sum(seconds.values()):.2f}",
        ", ".join(f"{stage} {value:.2f}" for stage, value in seconds.items()),
        text_of(record.get("peak_memory_megabytes")),
        text_of(record.get("device")),
        text_of(record.get("mask")),
        text_of(record.get("daemon")),
        str(len(record.get("warnings", ()))),
    ]


def tracebacks(iterations: Sequence[Iteration]) -> Html:
    """Return what each call that failed raised, each text once."""
    found: dict[str, str] = {}
    for iteration, call, record in call_order(iterations):
        trace = mapping(record.get("error")).get("traceback")
        if isinstance(trace, str):
            found.setdefault(trace, f"it{iteration.number:03d} {call.label}: what was raised")
    return joined(folded(where, element("pre", trace)) for trace, where in found.items())
