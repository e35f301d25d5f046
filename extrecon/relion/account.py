"""What a refinement's folder tells of the refinement as a whole: how it was started, what kind it is, how it ended.

Only files are read, as in `history`; what cannot be read is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from extrecon.relion import labels
from extrecon.relion.command import opening_of
from extrecon.relion.history import CallName, Iteration, RefinementFolder
from extrecon.relion.names import MODEL, OPTIMISER, SAMPLING, original_root, parse_file_name
from extrecon.relion.quick_star import read_values

_VERSION = re.compile(r"version[:\s]+(\S+)")
_ENDINGS = {
    "RELION_JOB_EXIT_SUCCESS": "RELION's window says that the job ended well",
    "RELION_JOB_EXIT_FAILURE": "RELION's window says that the job failed",
    "RELION_JOB_EXIT_ABORTED": "RELION's window says that the job was aborted",
}
_AT_WORK = "RELION_JOB_RUNNING"
HALF_SETS, BODIES = "refinement of two half sets", "multi-body refinement"


@dataclass(frozen=True)
class Start:
    """One start of RELION: the first, or a continuation.

    Attributes
    ----------
    file : the optimiser file that tells it
    version : RELION's; "" if the file does not tell
    options : RELION's options, as its file repeats them
    """

    file: str
    version: str
    options: str


@dataclass(frozen=True)
class Account:
    """A refinement as a whole.

    Attributes
    ----------
    folder : where RELION wrote it
    root : RELION's output name without the folder; "" if it has none
    iterations : in order
    kind : `HALF_SETS`, `BODIES`, or "3D classification, 4 classes, no half sets" and the like; for people
    is_split : whether there are half sets
    is_finished : whether RELION has come to its end
    ending : what is known of the end, a sentence without its full stop; "" if nothing is
    starts : in order
    values : of the last optimiser, sampling and model files' first blocks
    """

    folder: Path
    root: str
    iterations: Sequence[Iteration]
    kind: str
    is_split: bool
    is_finished: bool
    ending: str
    starts: Sequence[Start] = ()
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Folder and root, as RELION's --o has it."""
        return str(self.folder / self.root) if self.root else str(self.folder)

    @property
    def has_hook(self) -> bool:
        """Whether extrecon-hook served any call."""
        return any(iteration.records for iteration in self.iterations)

    @property
    def is_hook_called(self) -> bool:
        """Whether RELION made any external call, whoever served it."""
        return any(iteration.calls or iteration.records for iteration in self.iterations)

    def number(self, label: str) -> float | None:
        """Return a finite number of RELION's files; None if they do not tell."""
        try:
            value = float(self.values[label])
        except (KeyError, ValueError):
            return None
        return value if math.isfinite(value) else None


def account_of(refinement: RefinementFolder) -> Account:
    """Return what a refinement's folder tells."""
    iterations = refinement.iterations()
    values: dict[str, str] = {}
    if iterations:
        values = _last_values(refinement.folder, iterations)
    is_split = values.get(labels.SPLIT_HALVES) == "1" or _has_halves(iterations)
    is_finished, ending = _end(refinement, iterations, values)
    if iterations and is_split and refinement.is_finished():
        iterations = refinement.with_joined(iterations)
    return Account(
        folder=refinement.folder,
        root=original_root(iterations[-1].root) if iterations else refinement.root or "",
        iterations=iterations,
        kind=_kind(iterations, values, is_split=is_split),
        is_split=is_split,
        is_finished=is_finished,
        ending=ending,
        starts=_starts(refinement.folder, iterations),
        values=values,
    )


def _has_halves(iterations: Sequence[Iteration]) -> bool:
    return any(half for i in iterations for half in i.resolution_angstrom) or any(
        call.half for i in iterations for call in (*i.calls, *i.records)
    )


def _kind(iterations: Sequence[Iteration], values: Mapping[str, str], *, is_split: bool) -> str:
    calls = {call for i in iterations for call in (*i.calls, *i.records)}
    if any(call.kind == "body" for call in calls):
        return BODIES
    if is_split:
        return HALF_SETS
    dimensions = values.get(labels.DIMENSIONS, "")
    classes = max([_count(values.get(labels.CLASSES)), *(call.number for call in calls)])
    name = "2D classification" if dimensions.startswith("2") else "3D classification"
    return f"{name}, {classes} class{'es' if classes > 1 else ''}, no half sets"


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 1


def _last_values(folder: Path, iterations: Sequence[Iteration]) -> dict[str, str]:
    """Return the values of the newest files that can be read, those of later iterations over earlier ones."""
    found: dict[str, str] = {}
    for iteration in iterations[-2:]:
        stem = f"{iteration.root}_it{iteration.number:03d}"
        for ending in (SAMPLING, MODEL, f"_half1{MODEL}", OPTIMISER):
            found |= _values(folder / f"{stem}{ending}")
    return found


def _values(path: Path) -> dict[str, str]:
    try:
        return read_values(path) if path.is_file() else {}
    except OSError:
        return {}


def _end(
    refinement: RefinementFolder, iterations: Sequence[Iteration], values: Mapping[str, str]
) -> tuple[bool, str]:
    folder = refinement.folder
    told = next((text for name, text in _ENDINGS.items() if (folder / name).exists()), "")
    if (folder / _AT_WORK).exists() and not told:
        told = "RELION's window says that the job is running"
    last = iterations[-1].number if iterations else 0
    try:
        is_last = 0 < float(values[labels.LAST_ITERATION]) <= last
    except (KeyError, ValueError):
        is_last = False
    return refinement.is_finished() or is_last, told


def _starts(folder: Path, iterations: Sequence[Iteration]) -> list[Start]:
    """Return what the first optimiser file of the run and of each of its continuations tells."""
    roots = {original_root(iteration.root) for iteration in iterations}
    found: list[tuple[int, float, Path]] = []
    for path in folder.glob(f"*{OPTIMISER}"):
        name = parse_file_name(path.name)
        if name is not None and name.ending == OPTIMISER and original_root(name.root) in roots:
            with suppress(OSError):
                found.append((name.iteration, path.stat().st_mtime, path))
    starts: list[Start] = []
    for _, _, path in sorted(found):
        start = _start(path)
        if start.options not in {other.options for other in starts}:  # another root, or continued in place
            starts.append(start)
    return starts


def _start(path: Path) -> Start:
    comments = [line[1:].strip() for line in opening_of(path).split("\n") if line.startswith("#")]
    version = next((match[1] for line in comments if (match := _VERSION.search(line))), "")
    options = next((line for line in comments if line.startswith("--")), "")
    return Start(path.name, version, options)


def calls_of(account: Account) -> list[CallName]:
    """Return all calls that the refinement made in any iteration, halves first."""
    found = {call for i in account.iterations for call in (*i.calls, *i.records)}
    return sorted(found, key=lambda call: (call.kind, call.number, call.half or 3))
