"""A path that a shell has split at its spaces, put together again.

RELION appends the path of its STAR file to a command line without quotation marks. The disk tells which
of the last words belong together, and how many spaces stood between them. Standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

_GAP = "\0"  # stands for the white space between two words; no path holds it


def files_in_last_words(words: Sequence[str], working_directory: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield numbers of last words with the files that they may name together, one word first.

    Parameters
    ----------
    words : of the command line; only existing files count
    working_directory : where relative paths begin
    """
    for count in range(1, len(words) + 1):
        files = sorted(_files(_GAP.join(words[len(words) - count :]), working_directory))
        if files:
            yield count, files


def _files(pattern: str, working_directory: Path) -> Iterator[str]:
    folders = [""]
    *parts, name = re.split(r"(/+)", pattern)
    for part in parts:
        folders = [folder + found for folder in folders for found in _entries(part, folder, working_directory)]
    for folder in folders:
        for found in _entries(name, folder, working_directory):
            if (working_directory / (folder + found)).is_file():
                yield folder + found


def _entries(part: str, folder: str, working_directory: Path) -> list[str]:
    """Return what a part of a path may stand for: itself, or the names in the folder that differ in white space."""
    if _GAP not in part:
        return [part]
    wanted = re.compile(r"[ \t\n]+".join(map(re.escape, part.split(_GAP))))
    try:
        return [name for name in os.listdir(working_directory / (folder or ".")) if wanted.fullmatch(name)]  # noqa: PTH208 - Path's cost more at start
    except OSError:
        return []
