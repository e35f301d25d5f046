"""What a refinement's folder tells about its iterations: RELION's STAR files and extrecon's records.

Only files are read, so it works while the refinement runs, after it has ended, and from another host. Files appear
and change while they are read: what cannot be read yet is left out until it can. Standard library only.
"""

from __future__ import annotations

import glob
import math
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from extrecon.record import RECORD_SUFFIX
from extrecon.relion import labels
from extrecon.relion.clean_record import read_record
from extrecon.relion.names import (
    ACCUMULATORS,
    CALL,
    CALL_RECORD,
    MODEL,
    OPTIMISER,
    SAMPLING,
    FileName,
    is_restated,
    original_root,
    parse_file_name,
    root_of_optimiser,
)
from extrecon.relion.quick_star import AT_REST, FSC_OF_MODEL, read_model, read_values

_OF_CALLS = (CALL, CALL_RECORD)
_OF_ITERATIONS = (SAMPLING, OPTIMISER, MODEL)


class CallName(NamedTuple):
    """Which of an iteration's calls.

    Attributes
    ----------
    half : 1 or 2; None if joined, or in a classification
    kind : "class" or "body"
    number : of the class or body, from 1
    has_halves : whether there are half sets at all
    """

    half: int | None
    kind: str
    number: int
    has_halves: bool = True

    @property
    def label(self) -> str:
        """Short form for people; in half sets class 1 is not named, since most refinements have no other."""
        numbered = f"{self.kind}{self.number:03d}"
        if not self.has_halves:
            return numbered
        half = f"half{self.half}" if self.half else "joined"
        return half if (self.kind, self.number) == ("class", 1) else f"{half} {numbered}"


@dataclass
class Iteration:
    """What is known of one iteration.

    Attributes
    ----------
    number : N
    root : RELION's output name, without folder
    healpix_order, local_healpix_order : order used in this iteration, and the one from which search is local
    resolution_angstrom : Å, by half; under None for a joined iteration
    half_map_fsc : of the two halves, one value a shell from 0 on, as RELION writes it; empty if it does not
    pixel_size_angstrom : Å; None where no model file tells it
    accuracy_degrees, accuracy_angstrom : RELION's estimates of how well angles and shifts are known
    records : extrecon's records, by call
    calls : the calls that RELION made, whoever served them
    by_blush : whether RELION 5 has Blush make the maps, from the same files as an external call
    is_at_rest : whether RELION keeps all bodies fixed, and reconstructs none
    is_uncalled : whether RELION has reconstructed by itself, without any call, although it had made calls before
    """

    number: int
    root: str
    healpix_order: int | None = None
    local_healpix_order: int | None = None
    resolution_angstrom: dict[int | None, float] = field(default_factory=dict)
    half_map_fsc: tuple[float, ...] = ()
    pixel_size_angstrom: float | None = None
    accuracy_degrees: float | None = None
    accuracy_angstrom: float | None = None
    records: dict[CallName, Mapping[str, Any]] = field(default_factory=dict)
    calls: set[CallName] = field(default_factory=set)
    by_blush: bool = False
    is_at_rest: bool = False
    is_uncalled: bool = False

    @property
    def unserved(self) -> list[CallName]:
        """The calls that left no record: RELION ran something else than extrecon-hook."""
        return sorted(self.calls - set(self.records), key=str) if self.resolution_angstrom else []


class RefinementFolder:
    """A refinement's folder, read again and again; files that have not changed are not read twice.

    Parameters
    ----------
    folder : where RELION writes
    root : RELION's output name, such as ``run``; None for any
    """

    def __init__(self, folder: Path, root: str | None = None) -> None:
        self.folder = folder
        self.root = root
        self._known: dict[Path, tuple[tuple[int, int], Mapping[str, Any]]] = {}

    def iterations(self) -> list[Iteration]:
        """Return all iterations from the first call on, in order."""
        found: dict[tuple[int, str], Iteration] = {}
        latest: dict[int, Iteration] = {}
        for path in self._files():
            name = self._own(path, _OF_CALLS + _OF_ITERATIONS)
            if name is None:
                continue
            number, root = name.iteration, name.root
            if is_restated(root, number) and number in latest and latest[number].root != root:
                continue
            # What the run before left of the same iteration must not pass for the continued run's.
            latest[number] = found.setdefault((number, root), Iteration(number, root))
            self._take(path, name, latest[number])
        iterations = [latest[number] for number in sorted(latest)]
        _mark_uncalled(iterations)
        if not any(call.half for i in iterations for call in (*i.calls, *i.records)):
            _without_halves(iterations)
        if iterations and any(call.half is None for call in iterations[-1].calls):
            self._take_final(iterations[-1])
            if len(iterations) > 1 and iterations[-1].local_healpix_order is None:
                iterations[-1].local_healpix_order = iterations[-2].local_healpix_order
        return iterations

    def with_joined(self, iterations: Sequence[Iteration]) -> list[Iteration]:
        """Return the iterations of a finished refinement of half sets with the joined one at their end.

        Where RELION made no external call for it, no file bears its number.
        """
        last = iterations[-1]
        if any(call.half is None for call in (*last.calls, *last.records)):
            return list(iterations)
        joined = Iteration(last.number + 1, last.root, local_healpix_order=last.local_healpix_order)
        joined.is_uncalled = any(iteration.calls or iteration.records for iteration in iterations)
        self._take_final(joined)
        return [*iterations, joined]

    def __str__(self) -> str:
        return str(self.folder / self.root) if self.root else str(self.folder)

    def records(self) -> dict[str, int]:
        """Return the names of extrecon's records, each with when it was written, ns: a change means a call."""
        found = {}
        for path in self.folder.glob(f"*{RECORD_SUFFIX}"):
            if self._own(path, (CALL_RECORD,)) is not None:
                with suppress(OSError):
                    found[path.name] = path.stat().st_mtime_ns
        return found

    def accumulators(self) -> tuple[int, int]:
        """Return how many accumulator files there are, and their bytes together."""
        sizes = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                if self._own(path, ACCUMULATORS) is not None:
                    with suppress(OSError):
                        sizes.append(path.stat().st_size)
        return len(sizes), sum(sizes)

    def is_finished(self) -> bool:
        """Tell whether RELION has written its final files, which bear no iteration."""
        root = "*" if self.root is None else glob.escape(self.root)
        finals = [path for path in self.folder.glob(f"{root}{MODEL}") if "_it" not in path.name]
        return bool(finals)

    def _files(self) -> list[Path]:
        try:
            paths = [path for path in self.folder.iterdir() if path.suffix in (".star", ".json")]
        except OSError:
            return []
        # Older first: a continued run replaces what the run before said of the same iteration.
        times = {}
        for path in paths:
            with suppress(OSError):  # a temporary file that is gone already
                times[path] = path.stat().st_mtime_ns, path.name
        return sorted(times, key=times.__getitem__)

    def _own(self, path: Path, endings: Sequence[str]) -> FileName | None:
        """Return what the name of a file of this refinement says; None if it is another's, or ends otherwise."""
        name = parse_file_name(path.name)
        if name is None or name.ending not in endings:
            return None
        is_own = self.root is None or original_root(name.root) == original_root(self.root)
        return name if is_own else None

    def _take(self, path: Path, name: FileName, iteration: Iteration) -> None:
        if name.ending in _OF_CALLS:
            if name.kind is not None:
                self._take_call(path, CallName(name.half, name.kind, name.number), iteration)
            return
        values = self._read(path, read_model if name.ending == MODEL else read_values)
        if name.ending == SAMPLING:
            iteration.healpix_order = _whole(values.get(labels.HEALPIX_ORDER))
        elif name.ending == OPTIMISER:
            iteration.local_healpix_order = _whole(values.get(labels.LOCAL_HEALPIX_ORDER))
            iteration.by_blush = values.get(labels.BLUSH) == "1"
            iteration.accuracy_degrees = _accuracy(values.get(labels.ACCURACY_ROTATIONS))
            iteration.accuracy_angstrom = _accuracy(values.get(labels.ACCURACY_TRANSLATIONS))
        else:
            resolution = _number(values.get(labels.RESOLUTION))
            if resolution is not None:
                iteration.resolution_angstrom[name.half] = resolution
            iteration.is_at_rest = bool(values.get(AT_REST))
            self._take_fsc(values, iteration)

    def _take_call(self, path: Path, call: CallName, iteration: Iteration) -> None:
        if path.suffix != ".json":
            iteration.calls.add(call)
            return
        record = self._read(path, read_record)
        if record:
            iteration.records[call] = record

    def _take_final(self, last: Iteration) -> None:
        """Read what RELION wrote of the joined iteration: its files bear no number."""
        stem = self.folder / last.root
        if last.healpix_order is None:
            sampling = self._read(stem.with_name(stem.name + SAMPLING), read_values)
            last.healpix_order = _whole(sampling.get(labels.HEALPIX_ORDER))
        model = self._read(stem.with_name(stem.name + MODEL), read_model)
        resolution = _number(model.get(labels.RESOLUTION))
        if resolution is not None and not last.resolution_angstrom:
            last.resolution_angstrom[None] = resolution
        self._take_fsc(model, last)

    def _take_fsc(self, model: Mapping[str, Any], iteration: Iteration) -> None:
        """Take the FSC and what turns its shells into resolutions; both halves' models hold the same."""
        iteration.half_map_fsc = model.get(FSC_OF_MODEL) or iteration.half_map_fsc
        iteration.pixel_size_angstrom = _positive(model.get(labels.PIXEL_SIZE)) or iteration.pixel_size_angstrom

    def _read(self, path: Path, read: Any) -> Mapping[str, Any]:
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for without end
                return {}
            stamp = found.st_mtime_ns, found.st_size
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                known = stamp, read(path)
                self._known[path] = known
        except (OSError, ValueError, RecursionError):  # the last: lists in lists without end
            return {}
        return known[1]


def continued_refinement(optimiser: Path) -> RefinementFolder | None:
    """Return the refinement that goes on from an optimiser file of its own; None if the name is not RELION's."""
    root = root_of_optimiser(optimiser.name)
    return None if root is None else RefinementFolder(optimiser.parent, root)


def _mark_uncalled(iterations: list[Iteration]) -> None:
    """Mark what RELION did by itself after it had called; before the first call nobody may have asked for any."""
    has_called = False
    for iteration in iterations:
        called = bool(iteration.calls or iteration.records)
        is_silent = not called and bool(iteration.resolution_angstrom) and not iteration.is_at_rest
        iteration.is_uncalled = has_called and is_silent and not is_restated(iteration.root, iteration.number)
        has_called |= called


def _without_halves(iterations: list[Iteration]) -> None:
    for iteration in iterations:
        iteration.calls = {call._replace(has_halves=False) for call in iteration.calls}
        iteration.records = {call._replace(has_halves=False): r for call, r in iteration.records.items()}


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None or not math.isfinite(number) else int(number)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


_UNKNOWN_ACCURACY = 999.0  # what RELION writes before it has estimated any


def _accuracy(text: str | None) -> float | None:
    number = _positive(text)
    return None if number is None or number >= _UNKNOWN_ACCURACY else number


def _positive(text: str | None) -> float | None:
    number = _number(text)
    return number if number is not None and 0 < number < math.inf else None
