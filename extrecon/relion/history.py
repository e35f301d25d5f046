"""What a refinement's folder tells about its iterations: RELION's STAR files and extrecon's records.

Only files are read, so it works while the refinement runs, after it has ended, and from another host. Files appear
and change while they are read: what cannot be read yet is left out until it can. Standard library only.
"""

from __future__ import annotations

import json
import re
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
    """

    number: int
    root: str
    healpix_order: int | None = None
    local_healpix_order: int | None = None
    resolution_angstrom: dict[int | None, float] = field(default_factory=dict)
    records: dict[CallName, Mapping[str, Any]] = field(default_factory=dict)
    calls: set[CallName] = field(default_factory=set)

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
        found: dict[int, Iteration] = {}
        for path in self._files():
            match = _FILE.fullmatch(path.name)
            if match is None or self._is_anothers(match["root"]):
                continue
            number = int(match["iteration"])
            iteration = found.setdefault(number, Iteration(number, match["root"]))
            self._take(path, match, iteration)
        iterations = [found[number] for number in sorted(found)]
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

    def is_finished(self) -> bool:
        """Tell whether RELION has written its final files, which bear no iteration."""
        names = [f"{self.root}_model.star"] if self.root else ["*_model.star"]
        finals = [path for name in names for path in self.folder.glob(name) if "_it" not in path.name]
        return bool(finals)

    def _files(self) -> list[Path]:
        try:
            # Older first: a continued run replaces what the run before said of the same iteration.
            paths = [path for path in self.folder.iterdir() if path.suffix in (".star", ".json")]
            return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))
        except OSError:
            return []

    def _is_anothers(self, root: str) -> bool:
        return self.root is not None and _CONTINUED.sub("", root) != _CONTINUED.sub("", self.root)

    def _take(self, path: Path, match: re.Match[str], iteration: Iteration) -> None:
        half, what = int(match["half"]) if match["half"] else None, match["what"]
        iteration.root = match["root"]
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
            stamp = found.st_mtime_ns, found.st_size
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                known = stamp, read(path)
                self._known[path] = known
        except (OSError, ValueError):
            return {}
        return known[1]


def read_values(path: Path) -> dict[str, str]:
    """Return the values of a STAR file's first list block, as text; what follows it is not read.

    Raises
    ------
    OSError, ValueError : the file cannot be read, or is not text.
    """
    values: dict[str, str] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            if words and (words[0] == "loop_" or (words[0].startswith("data_") and values)):
                break
            if len(words) == 2 and words[0].startswith("_") and words[1] != '""':
                values[words[0][1:]] = words[1]
    return values


def _read_record(path: Path) -> Mapping[str, Any]:
    record = json.loads(path.read_text(encoding="utf-8"))
    return record if isinstance(record, dict) else {}


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
