"""The command line that started a refinement, as RELION writes it at the head of its optimiser files.

A continued run's head holds only the words of ``--continue``: what the run was started with stands in the files of
the run before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from extrecon.relion.names import OPTIMISER, original_root, parse_file_name

_HEAD_BYTES = 65536
_LONGEST_CHAIN = 100
_MAJOR_VERSION = re.compile(r"version[:\s]+(\d+)\.")
_SKIPS_GRIDDING_FROM = 4


class Command:
    """RELION's options, from the comments before an optimiser file's first block.

    Attributes
    ----------
    is_known : whether there is a command line at all
    """

    def __init__(self, opening: str) -> None:
        self._words = [word for line in opening.split("\n") if line.startswith("#") for word in line[1:].split()]
        self.is_known = any(word.startswith("--") for word in self._words)

    def has(self, option: str) -> bool:
        """Tell whether an option was given."""
        return option in self._words

    def value(self, option: str) -> str | None:
        """Return the word after an option."""
        following = dict(zip(self._words, self._words[1:], strict=False))
        return following.get(option)

    @property
    def continues(self) -> str | None:
        """The optimiser file that the run continues, as RELION was told."""
        return self.value("--continue")

    @property
    def starts_a_run(self) -> bool:
        """Whether these are all the options, rather than a continued run's few."""
        return self.is_known and not self.has("--continue")


def iterates_gridding(opening: str) -> bool | None:
    """Return whether RELION iterates gridding weights when it reconstructs by itself; None if that is not known.

    Up to 3.1 it does unless it is told otherwise, as its window does by default; since 4.0 it does not. Nothing in
    the file of an external call tells, and RELION's own program for these calls always iterates.

    Parameters
    ----------
    opening : the comments at the head of an optimiser file
    """
    command, version = Command(opening), _MAJOR_VERSION.search(opening)
    if not command.is_known or version is None:
        return None
    if int(version[1]) < _SKIPS_GRIDDING_FROM:
        return not command.has("--skip_gridding")
    return command.has("--dont_skip_gridding")


def initial_low_pass(opening: str, optimiser: Path) -> tuple[bool, float | None]:
    """Return whether it is known how the starting reference was low-passed, and to what, Å; None if it was not.

    Parameters
    ----------
    opening : the comments at the head of an optimiser file
    optimiser : that file; if its run was continued, the files of the runs before are looked for from here
    """
    for command in _commands_back_to_the_start(Command(opening), optimiser):
        if command.starts_a_run:
            return True, _positive(command.value("--ini_high"))
    return False, None


def _commands_back_to_the_start(command: Command, optimiser: Path) -> Iterator[Command]:
    """Yield the commands of the run and of those before it, latest first; then what else lies in their folders."""
    yield command
    seen = [optimiser]
    while command.continues is not None and len(seen) < _LONGEST_CHAIN:
        before = _found(command.continues, seen[-1])
        if before is None or before in seen:
            break
        seen.append(before)
        command = Command(opening_of(before))
        yield command
    for path in seen:
        yield from (Command(opening_of(other)) for other in _same_run(path))


def _found(named: str, optimiser: Path) -> Path | None:
    """Return a file that RELION names from its working directory, which is above the job's folder or far away."""
    for folder in optimiser.absolute().parents:
        path = folder / named
        if path.is_file():
            return path
    return None


def _same_run(optimiser: Path) -> list[Path]:
    """Return the optimiser files of one run in the folder, the first iteration first, none later than this one."""
    own = parse_file_name(optimiser.name)
    if own is None:
        return []
    found = []
    for path in optimiser.parent.glob(f"*{OPTIMISER}"):
        name = parse_file_name(path.name)
        if name is None or name.ending != OPTIMISER or name.iteration > own.iteration:
            continue
        if original_root(name.root) == original_root(own.root):
            found.append((name.iteration, path))
    return [path for _, path in sorted(found)]


def opening_of(path: Path) -> str:
    """Return the comments at the head of an optimiser file; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    return head.decode("utf-8", "surrogateescape").partition("\ndata_")[0]


def _positive(word: str | None) -> float | None:
    try:
        number = float(word) if word is not None else 0.0
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None
