"""A refinement in words: what must not be missed, what each half was given and why, and how the FSC has moved.

The same words for the terminal and for the page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from extrecon.fourier.resolution import GOLD_STANDARD, last_shell_above, resolution_of_last_above
from extrecon.fourier.solvent_mask import volume_told
from extrecon.relion.history import CallName, Iteration
from extrecon.relion.program import VARIABLE

_EVERY_RANK = f"is the variable set on every rank? With Open MPI: mpirun -x {VARIABLE}"
FOREIGN, UNCALLED = "foreign", "uncalled"
"""Beside a record's outcomes: a call that something else answered, and an iteration without a call."""
HARM = ("fallback", "failed", FOREIGN, UNCALLED)
_NUMBER = re.compile(r"\d+(\.\d+)?")
_MOST_NAMED = 6
_BARS = "▁▂▃▄▅▆▇█"


def warnings(iterations: Sequence[Iteration]) -> list[str]:
    """Return what the records warn of, each once, with the first and the number of calls it is about.

    What failed is told by `given`.
    """
    first: dict[str, str] = {}
    count: dict[str, int] = {}
    for iteration, call, record in call_order(iterations):
        for warning in record.get("warnings", ()):
            first.setdefault(warning, f"it{iteration.number:03d} {call.label}")
            count[warning] = count.get(warning, 0) + 1
    return [f"{first[text]}: {text}" + (f" ({n} calls)" if n > 1 else "") for text, n in count.items()]


def alarms(iterations: Sequence[Iteration]) -> Iterator[tuple[object, str]]:
    """Yield a line, with its key, for each thing that extrecon-hook cannot tell, since it was not called."""
    for iteration in iterations:
        where = f"it{iteration.number:03d}"
        for call in iteration.unserved:
            yield (iteration.root, where, call), f"{where} {call.label}: WARNING: {_by_whom(iteration)}"
        if iteration.is_uncalled:
            told = f"{where}: WARNING: RELION made no external call in {where}; {_uncalled_advice()}"
            yield (iteration.root, where), told


def _by_whom(iteration: Iteration) -> str:
    """Return who answered a call that left no record, and what to look at."""
    if iteration.by_blush:
        return "made by RELION's Blush, not by extrecon-hook: --blush wins over --external_reconstruct"
    return f"reconstructed by RELION's own program, not by extrecon-hook: {_EVERY_RANK}"


def _uncalled_advice() -> str:
    return "RELION 4.0.2 and later need --external_reconstruct again with --continue, and --blush wins over it"


@dataclass(frozen=True)
class Given:
    """What some calls of successive iterations were given, and why: the same of all.

    Attributes
    ----------
    first, last : iterations
    calls : of each of them, as `CallName.label`
    outcome : of the records, `FOREIGN` or `UNCALLED`
    told : what RELION got, in words
    reason : why
    """

    first: int
    last: int
    calls: tuple[str, ...]
    outcome: str
    told: str
    reason: str

    @property
    def where(self) -> str:
        """Iterations and calls, for people."""
        span = f"it{self.first:03d}" + (f"–{self.last:03d}" if self.last > self.first else "")
        calls = ", ".join(self.calls)
        if len(self.calls) > _MOST_NAMED:
            calls = f"{len(self.calls)} calls, {self.calls[0]} to {self.calls[-1]}"
        return " ".join([span, calls]).strip()

    def __str__(self) -> str:
        return f"{self.where}: {self.told}" + (f" ({self.reason})" if self.reason else "")


def given(iterations: Sequence[Iteration]) -> list[Given]:
    """Return what each half was given and why, in order; what repeats from iteration to iteration is told once."""
    told: list[Given] = []
    latest: list[Given] = []
    for iteration in iterations:
        now = []
        for part in _given_in(iteration):
            before = next((old for old in latest if _goes_on(old, part)), None)
            if before is None:
                told.append(part)
                now.append(part)
            else:
                longer = replace(before, last=part.last)
                told[told.index(before)] = longer
                now.append(longer)
        latest = now or latest
    return told


def harm(iterations: Sequence[Iteration]) -> list[str]:
    """Return what went wrong, what differs by numbers alone told once: of how many calls, and the first of them."""
    groups: dict[tuple[str, str], list[Given]] = {}
    for part in given(iterations):
        if part.outcome in HARM:
            groups.setdefault((part.told, _NUMBER.sub("#", part.reason)), []).append(part)
    told = []
    for parts in groups.values():
        calls = sum((part.last - part.first + 1) * max(1, len(part.calls)) for part in parts)
        last = max(part.last for part in parts)
        more = f"{calls} calls up to it{last:03d}, first " if len(parts) > 1 else ""
        told.append(f"{more}{parts[0]}")
    return told


def _goes_on(before: Given, now: Given) -> bool:
    return before.last == now.first - 1 and _sameness(before) == _sameness(now)


def _sameness(part: Given) -> tuple[tuple[str, ...], str, str, str]:
    return part.calls, part.outcome, part.told, part.reason


def _given_in(iteration: Iteration) -> list[Given]:
    """Return what one iteration's calls were given, those together that got the same for the same reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for call, record in sorted(iteration.records.items(), key=str):
        key = (str(record.get("outcome")), told_of(record), str(record.get("reason") or ""))
        groups.setdefault(key, []).append(call.label)
    for call in iteration.unserved:
        groups.setdefault((FOREIGN, "NOT EXTRECON'S MAP", _by_whom(iteration)), []).append(call.label)
    if iteration.is_uncalled:
        groups[UNCALLED, "RELION made no external call", _uncalled_advice()] = []
    number = iteration.number
    return [Given(number, number, tuple(calls), *key) for key, calls in groups.items()]


def told_of(record: Mapping[str, Any]) -> str:
    """Return what RELION got in one call, in words."""
    outcome = str(record.get("outcome"))
    if outcome == "regularized":
        return f"regularized with {(record.get('regularizer') or {}).get('name')}"
    return {
        "plain": "plain map",
        "fallback": "WARNING: PLAIN MAP RETURNED",
        "unfinished": "plain map so far, the regularizer at work",
    }.get(outcome, "ERROR: no map returned")


def drawn_mask(iterations: Sequence[Iteration]) -> str:
    """Return which solvent mask RELION has, if it is drawn anew as the refinement goes; "" if it is not."""
    drawn = {i.number: mask for i, _, record in call_order(iterations) if "file" in (mask := _mask_of(record))}
    if not drawn:
        return ""
    last = max(drawn)
    return f"it{last:03d}: solvent mask of {mask_told(drawn[last])}, drawn anew in {len(drawn)} iterations"


def _mask_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    mask = record.get("solvent_mask")
    return mask if isinstance(mask, Mapping) else {}


def mask_told(mask: Mapping[str, Any]) -> str:
    """Return a drawn mask's size, for people, from a record."""
    volume, edge = mask.get("volume_angstrom3"), mask.get("edge_angstrom")
    if not isinstance(volume, int | float):
        return "unknown size"
    particle = mask.get("particle_angstrom3")
    around = f" around a particle of {volume_told(particle)}" if isinstance(particle, int | float) else ""
    edge_told = f" with an edge of {edge} Å" if isinstance(edge, int | float) else ""
    return f"{volume:.0f} Å³{edge_told}{around}"


@dataclass(frozen=True)
class FscChange:
    """The half-maps' FSC in one iteration against the one before.

    Attributes
    ----------
    now, before : the two iterations
    mean_change : over `shells`
    shells : how many lie below the finer of the two limits, and were within the images of both iterations
    """

    now: Iteration
    before: Iteration
    mean_change: float
    shells: int

    def __str__(self) -> str:
        before = f"it{self.before.number:03d}: {_limit_told(self.before)}"
        limits = f"FSC above {GOLD_STANDARD} up to {_limit_told(self.now)} ({before})"
        return f"it{self.now.number:03d}: {limits}, mean change {self.mean_change:+z.3f} over {self.shells} shells"


def fsc_changes(iterations: Sequence[Iteration]) -> list[FscChange]:
    """Return how the FSC moved, for each iteration that follows one with an FSC of its own, in order."""
    known = [iteration for iteration in iterations if iteration.half_map_fsc and iteration.pixel_size_angstrom]
    found = []
    for before, now in pairwise(known):
        if len(before.half_map_fsc) != len(now.half_map_fsc):
            continue
        curves = [np.array(iteration.half_map_fsc) for iteration in (now, before)]
        shells = max(1, *(last_shell_above(curve, GOLD_STANDARD) for curve in curves))
        shells = min(shells, held_shells(now) - 1, held_shells(before) - 1)
        change = float(np.mean((curves[0] - curves[1])[1 : shells + 1]))
        found.append(FscChange(now, before, change, shells))
    return found


def held_shells(iteration: Iteration) -> int:
    """Return how many shells of an FSC RELION has measured; beyond the images that it used it writes zeros."""
    return len(np.trim_zeros(np.array(iteration.half_map_fsc), "b"))


def _limit_told(iteration: Iteration) -> str:
    """Return how far the FSC is above 0.143, and whether that is only where the images ended."""
    curve = np.array(iteration.half_map_fsc)
    ended = held_shells(iteration) == last_shell_above(curve, GOLD_STANDARD) + 1 < len(curve)
    return angstrom(fsc_limit(iteration)) + (", where the images used end" if ended else "")


def fsc_limit(iteration: Iteration) -> float:
    """Return where an iteration's FSC falls under 0.143, Å; infinite if in its first shell, or if there is none."""
    if not iteration.half_map_fsc or not iteration.pixel_size_angstrom:
        return math.inf
    return resolution_of_last_above(np.array(iteration.half_map_fsc), iteration.pixel_size_angstrom)


def angstrom(value: float) -> str:
    """Return a resolution for people."""
    return f"{value:.2f} Å" if math.isfinite(value) else "–"


def sparkline(curve: Sequence[float], width: int) -> str:
    """Return a curve from 0 to 1 as a line of bars, a bar a shell or a group of shells' mean."""
    values = np.array(curve, dtype=np.float64)
    groups = np.array_split(values, min(width, len(values)))
    places = [min(len(_BARS) - 1, max(0, int(group.mean() * len(_BARS)))) for group in groups]
    return "".join(_BARS[place] for place in places)


def call_order(iterations: Sequence[Iteration]) -> list[tuple[Iteration, CallName, Mapping[str, Any]]]:
    """Return all records in order, each with its iteration and call."""
    return [(i, call, record) for i in iterations for call, record in sorted(i.records.items(), key=str)]
