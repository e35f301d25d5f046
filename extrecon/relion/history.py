"""What a refinement's folder tells about its iterations: RELION's STAR files and extrecon's records.

Only files are read, so it works while the refinement runs, after it has ended, and from another host. Files appear
and change while they are read: what cannot be read yet is left out until it can. Standard library only.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_FILE = re.compile(
    r"(?P<root>.+)_it(?P<iteration>\d{3,})(?:_half(?P<half>[12]))?"
    r"(?:_(?P<kind>class|body)(?P<number>\d{3,}))?_"
    r"(?P<what>sampling\.star|optimiser\.star|model\.star|external_reconstruct\.star|external_reconstruct_extrecon\.json)"
)
_CONTINUED = re.compile(r"_ct\d+$")
_ACCUMULATOR = re.compile(
    r"(?P<root>.+)_it\d{3,}(?:_half[12])?_(?:class|body)\d{3,}_external_reconstruct_(?:data_real|data_imag|weight)\.mrc"
)
_OPTIMISER = re.compile(r"(?P<root>.+?)(?:_it\d{3,})?_optimiser\.star")


class CallName(NamedTuple):
    """Which of an iteration's calls: half (None if joined), "class" or "body", and its number from 1."""

    half: int | None
    kind: str
    number: int

    @property
    def label(self) -> str:
        """Short form for people; class 1 is not named, since most refinements have no other."""
        half = f"half{self.half}" if self.half else "joined"
        return half if (self.kind, self.number) == ("class", 1) else f"{half} {self.kind}{self.number:03d}"


@dataclass
class Iteration:
    """What is known of one iteration.

    Attributes
    ----------
    number : N
    root : RELION's output name, without folder
    healpix_order, local_healpix_order : order used in this iteration, and the one from which search is local
    resolution_angstrom : Å, by half; under None for a joined iteration
    records : extrecon's records, by call
    calls : the calls that RELION made, whoever served them
    is_uncalled : whether RELION has reconstructed by itself, without any call, although it had made calls before
    """

    number: int
    root: str
    healpix_order: int | None = None
    local_healpix_order: int | None = None
    resolution_angstrom: dict[int | None, float] = field(default_factory=dict)
    records: dict[CallName, Mapping[str, Any]] = field(default_factory=dict)
    calls: set[CallName] = field(default_factory=set)
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
            match = _FILE.fullmatch(path.name)
            if match is None or self._is_anothers(match["root"]):
                continue
            number, root = int(match["iteration"]), match["root"]
            # What the run before left of the same iteration must not pass for the continued run's.
            latest[number] = found.setdefault((number, root), Iteration(number, root))
            self._take(path, match, latest[number])
        iterations = [latest[number] for number in sorted(latest)]
        _mark_uncalled(iterations)
        if iterations and any(call.half is None for call in iterations[-1].calls):
            self._take_final(iterations[-1])
            if len(iterations) > 1 and iterations[-1].local_healpix_order is None:
                iterations[-1].local_healpix_order = iterations[-2].local_healpix_order
        return iterations

    def __str__(self) -> str:
        return str(self.folder / self.root) if self.root else str(self.folder)

    def records(self) -> dict[str, int]:
        """Return the names of extrecon's records, each with when it was written, ns: a change means a call."""
        found = {}
        for path in self.folder.glob("*_extrecon.json"):
            match = _FILE.fullmatch(path.name)
            if match is not None and not self._is_anothers(match["root"]):
                with suppress(OSError):
                    found[path.name] = path.stat().st_mtime_ns
        return found

    def accumulators(self) -> tuple[int, int]:
        """Return how many accumulator files there are, and their bytes together."""
        sizes = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                match = _ACCUMULATOR.fullmatch(path.name)
                if match is not None and not self._is_anothers(match["root"]):
                    with suppress(OSError):
                        sizes.append(path.stat().st_size)
        return len(sizes), sum(sizes)

    def is_finished(self) -> bool:
        """Tell whether RELION has written its final files, which bear no iteration."""
        names = [f"{self.root}_model.star"] if self.root else ["*_model.star"]
        finals = [path for name in names for path in self.folder.glob(name) if "_it" not in path.name]
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

    def _is_anothers(self, root: str) -> bool:
        return self.root is not None and _CONTINUED.sub("", root) != _CONTINUED.sub("", self.root)

    def _take(self, path: Path, match: re.Match[str], iteration: Iteration) -> None:
        half, what = int(match["half"]) if match["half"] else None, match["what"]
        if match["kind"]:
            call = CallName(half, match["kind"], int(match["number"]))
            if what.endswith(".json"):
                record = self._read(path, _read_record)
                if record:
                    iteration.records[call] = record
            else:
                iteration.calls.add(call)
        elif what == "sampling.star":
            iteration.healpix_order = _whole(self._read(path, read_values).get("rlnHealpixOrder"))
        elif what == "optimiser.star":
            told = self._read(path, read_values).get("rlnAutoLocalSearchesHealpixOrder")
            iteration.local_healpix_order = _whole(told)
        elif what == "model.star":
            resolution = _number(self._read(path, read_values).get("rlnCurrentResolution"))
            if resolution is not None:
                iteration.resolution_angstrom[half] = resolution

    def _take_final(self, last: Iteration) -> None:
        """Read what RELION wrote of the joined iteration: its files bear no number."""
        stem = self.folder / last.root
        if last.healpix_order is None:
            sampling = self._read(stem.with_name(f"{stem.name}_sampling.star"), read_values)
            last.healpix_order = _whole(sampling.get("rlnHealpixOrder"))
        model = self._read(stem.with_name(f"{stem.name}_model.star"), read_values)
        resolution = _number(model.get("rlnCurrentResolution"))
        if resolution is not None and not last.resolution_angstrom:
            last.resolution_angstrom[None] = resolution

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
    match = _OPTIMISER.fullmatch(optimiser.name)
    return None if match is None else RefinementFolder(optimiser.parent, match["root"])


def _mark_uncalled(iterations: list[Iteration]) -> None:
    """Mark what RELION did by itself after it had called; before the first call nobody may have asked for any."""
    has_called = False
    for iteration in iterations:
        called = bool(iteration.calls or iteration.records)
        iteration.is_uncalled = has_called and not called and bool(iteration.resolution_angstrom)
        has_called |= called


def read_values(path: Path) -> dict[str, str]:
    """Return the values of a STAR file's first list block, as text; what follows it is not read.

    Comments and paths may hold bytes that are no UTF-8.

    Raises
    ------
    OSError : the file cannot be read.
    """
    values: dict[str, str] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split()
            if words and (words[0] == "loop_" or (words[0].startswith("data_") and values)):
                break
            if len(words) == 2 and words[0].startswith("_") and words[1] != '""':
                values[words[0][1:]] = words[1]
    return values


def _read_record(path: Path) -> Mapping[str, Any]:
    """Return a record whose fields are what the readers of `Iteration.records` rely on, whatever the file holds."""
    record = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    if not isinstance(record, dict):
        return {}
    return record | {key: clean(record[key]) for key, clean in _CLEANERS.items() if key in record}


_LONGEST_SECONDS = 1e9


def _text(value: Any) -> str:
    """Return a value as text that any terminal can be sent."""
    text = value if isinstance(value, str) else str(value)
    whole = text.encode("utf-8", errors="replace").decode("utf-8")
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in whole)


def _seconds(value: Any) -> dict[str, float]:
    numbers = value.items() if isinstance(value, dict) else ()
    return {_text(k): float(v) for k, v in numbers if isinstance(v, int | float) and abs(v) < _LONGEST_SECONDS}


def _texts(value: Any) -> list[str]:
    return [_text(part) for part in value] if isinstance(value, list) else []


def _named(value: Any) -> dict[str, Any] | None:
    return value | {"name": _text(value.get("name"))} if isinstance(value, dict) else None


_CLEANERS = {"outcome": _text, "reason": _text, "seconds": _seconds, "warnings": _texts, "regularizer": _named}


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None or not math.isfinite(number) else int(number)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
