"""Strict reading of STAR files, as RELION writes them.

A file is read whole, or it is a `StarError` that names the file, the line and what is wrong with it. Values stay
text until they are asked for. RELION quotes a value only if it holds white space or begins with a quotation mark:
any other quotation mark is a letter like others. Bytes that are not UTF-8, in a comment or in a path, are kept as
Python keeps them in paths. Standard library and NumPy only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.errors import StarError

Values = Mapping[str, str]
"""A list block: each key without its underscore, and its value."""

Columns = Mapping[str, list[str]]
"""A loop: each column's name without its underscore, and its values."""

_HEAD_BYTES = 4096  # a map shows in its first bytes that it is none of ours
# A quotation mark opens a value only at its beginning, and closes it only at its end.
_TOKEN = re.compile(r"""[ \t]*(?:"(.*?)"(?=[ \t]|$)|'(.*?)'(?=[ \t]|$)|(\#.*)|([^ \t]+))""")
_MARKS = re.compile(r"""["'#]""")


class StarFile:
    """The blocks of one STAR file, with checked access to them.

    Attributes
    ----------
    path : where it was read
    opening : the comments before the first block; RELION writes its command line there
    """

    def __init__(
        self, path: Path, lists: Mapping[str, Values], loops: Mapping[str, Columns], opening: str = ""
    ) -> None:
        self.path = path
        self.opening = opening
        self._lists = lists
        self._loops = loops

    def has(self, block: str) -> bool:
        """Tell whether the file holds a block."""
        return block in self._lists or block in self._loops

    def loops(self) -> list[str]:
        """Return the names of the blocks that are loops."""
        return list(self._loops)

    def values(self, block: str) -> Values:
        """Return a list block.

        Raises
        ------
        StarError : there is no such block, or it is a loop.
        """
        if block in self._loops:
            raise StarError(f"{self.path}: the block data_{block} is a loop, but a list was expected.")
        if block not in self._lists:
            listed = ", ".join([*self._lists, *self._loops]) or "none"
            raise StarError(f"{self.path}: the block data_{block} is missing (found: {listed}).")
        return self._lists[block]

    def text(self, block: str, key: str) -> str:
        """Return a value as text, "" if it is empty."""
        values = self.values(block)
        if key not in values:
            raise StarError(f"{self.path}: data_{block} lacks _{key}.")
        return values[key]

    def number(self, block: str, key: str) -> float:
        """Return a finite number."""
        text = self.text(block, key)
        number = _number(text)
        if not math.isfinite(number):
            raise StarError(f"{self.path}: _{key} is '{text}', but a number was expected.")
        return number

    def integer(self, block: str, key: str) -> int:
        """Return a whole number."""
        value = self.number(block, key)
        if value != int(value):
            raise StarError(f"{self.path}: _{key} is {value}, but a whole number was expected.")
        return int(value)

    def column(self, block: str, key: str) -> npt.NDArray[np.float64]:
        """Return a loop's column of finite numbers, (rows,)."""
        if block not in self._loops:
            raise StarError(f"{self.path}: the loop data_{block} is missing.")
        numbers = np.array([_number(text) for text in self.texts(block, key)], dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(numbers))
        if bad.size:
            raise StarError(f"{self.path}: row {bad[0] + 1} of data_{block} has no number in _{key}.")
        return numbers

    def has_column(self, block: str, key: str) -> bool:
        """Tell whether a loop is there and has a column."""
        return key in self._loops.get(block, {})

    def texts(self, block: str, key: str) -> list[str]:
        """Return a loop's column as text."""
        if not self.has_column(block, key):
            raise StarError(f"{self.path}: the loop data_{block} has no column _{key}.")
        return self._loops[block][key]


def _number(text: str) -> float:
    """Return a number as C would read it, NaN if it is none."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def read_star(path: Path, *, first_block_only: bool = False) -> StarFile:
    """Read a STAR file.

    Parameters
    ----------
    first_block_only : leave the rest of a long file alone

    Raises
    ------
    StarError : missing, empty, cut off, or not a STAR file.
    """
    return _Reader(path).read(_checked_text(path), first_block_only=first_block_only)


class _Reader:
    """Reads line by line; a block is a list of ``_key value`` lines, or a loop of columns and rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lists: dict[str, dict[str, str]] = {}
        self._loops: dict[str, dict[str, list[str]]] = {}
        self._block: str | None = None
        self._rows: list[list[str]] = []
        self._names: list[str] | None = None  # of the loop that is being read

    def read(self, text: str, *, first_block_only: bool) -> StarFile:
        opening = text.partition("\ndata_")[0]
        stray = 0
        for number, line in _lines(text):
            words = self._words(line, number)
            if not words:
                continue
            if len(words) == 1 and words[0].startswith("data_"):
                if self._block is not None and first_block_only:
                    break
                self._begin(words[0].removeprefix("data_"), number)
            elif self._block is None:
                stray = stray or number
            else:
                self._take(words, number)
        if self._block is None:
            raise StarError(f"{self._path}: holds no data block.")
        if stray:
            raise self._unreadable(stray, "it stands before the first data block")
        self._end()
        return StarFile(self._path, self._lists, self._loops, opening)

    def _begin(self, block: str, number: int) -> None:
        self._end()
        if block in self._lists or block in self._loops:
            raise self._unreadable(number, f"the block data_{block} has been there already")
        self._block, self._names, self._rows = block, None, []
        self._lists[block] = {}

    def _take(self, words: list[str], number: int) -> None:
        block = self._lists.get(str(self._block))
        if self._names is None and words == ["loop_"] and not block:
            self._names = []
        elif self._names is not None:
            self._take_of_loop(self._names, words, number)
        elif block is not None and len(words) == 2 and words[0].startswith("_"):
            if words[0][1:] in block:
                raise self._unreadable(number, f"{words[0]} has been there already")
            block[words[0][1:]] = words[1]
        else:
            raise self._unreadable(number, "a key with an underscore and one value were expected")

    def _take_of_loop(self, names: list[str], words: list[str], number: int) -> None:
        if not self._rows and len(words) == 1 and words[0].startswith("_"):
            if words[0][1:] in names:
                raise self._unreadable(number, f"the column {words[0]} has been there already")
            names.append(words[0][1:])
        elif len(words) == len(names):
            self._rows.append(words)
        elif len(words) < len(names):
            row, missing = len(self._rows) + 1, names[len(words)]
            raise StarError(f"{self._path}: row {row} of data_{self._block} has no value in _{missing}.")
        else:
            raise self._unreadable(number, f"it holds {len(words)} values for {len(names)} columns")

    def _end(self) -> None:
        if self._block is not None and self._names is not None:
            columns = zip(*self._rows, strict=True) if self._rows else ([] for _ in self._names)
            self._loops[self._block] = {name: list(c) for name, c in zip(self._names, columns, strict=True)}
            del self._lists[self._block]

    def _words(self, line: str, number: int) -> list[str]:
        if line.isascii() and not _MARKS.search(line):
            return line.split()
        words: list[str] = []
        place, end = 0, len(line.rstrip(" \t"))
        while place < end:
            match = _TOKEN.match(line, place)
            if match is None:  # no value may be empty but in quotation marks
                raise self._unreadable(number, "it holds no values")
            double, single, comment, bare = match.groups()
            if comment is not None:
                break
            if bare is not None and bare[0] in "\"'":
                raise self._unreadable(number, "a quotation mark that opens a value has no partner")
            words.append(next(word for word in (double, single, bare) if word is not None))
            place = match.end()
        return words

    def _unreadable(self, number: int, why: str) -> StarError:
        return StarError(f"{self._path}: not a readable STAR file: line {number}: {why}.")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers; only a line feed ends one, since paths may hold Unicode's other ends."""
    for number, line in enumerate(text.split("\n"), start=1):
        yield number, line.removesuffix("\r")


def _checked_text(path: Path) -> str:
    if path.exists() and not path.is_file():  # opening a pipe would wait for somebody to write
        raise StarError(f"{path}: a folder, pipe or device, no regular file.")
    try:
        with path.open("rb") as file:
            content = file.read(_HEAD_BYTES)
            if b"\0" not in content:
                content += file.read()
    except FileNotFoundError:
        raise StarError(f"{path}: no such file.") from None
    except OSError as error:
        raise StarError(f"{path}: cannot be read: {error}.") from error
    if b"\0" in content:
        raise StarError(f"{path}: not a STAR file; is it a map?")
    text = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if not text.strip():
        raise StarError(f"{path}: the file is empty.")
    if not text.endswith("\n"):
        raise StarError(f"{path}: the file ends in the middle of a line; it is cut off or still being written.")
    return text
