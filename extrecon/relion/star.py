"""Strict reading of STAR files, around starfile.

starfile by itself returns an empty result for an empty file and NaN for a short row, reports a path with a space
as a ValueError about unpacking, and after a parse error keeps serving the old text of the file. Here a file is
read whole, or it is a `StarError` that names the file and what is wrong with it.
"""

from __future__ import annotations

import linecache
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import starfile

from extrecon.errors import StarError

# starfile reads through linecache, which all threads share.
_ONE_READER = threading.Lock()

Block = Mapping[str, Any]


class StarFile:
    """The blocks of one STAR file, with checked access to them.

    Lists (``_key value`` blocks) are mappings; loops are tables of columns.

    Attributes
    ----------
    path : where it was read
    opening : the comments before the first block; RELION writes its command line there
    """

    def __init__(self, path: Path, blocks: Mapping[str, Any], opening: str = "") -> None:
        self.path = path
        self.opening = opening
        self._blocks = blocks

    def has(self, block: str) -> bool:
        """Tell whether the file holds a block."""
        return block in self._blocks

    def values(self, block: str) -> Block:
        """Return a list block.

        Raises
        ------
        StarError : there is no such block, or it is a loop.
        """
        found = self._blocks.get(block)
        if found is None:
            listed = ", ".join(self._blocks) or "none"
            raise StarError(f"{self.path}: the block data_{block} is missing (found: {listed}).")
        if not isinstance(found, dict):
            raise StarError(f"{self.path}: the block data_{block} is a loop, but a list was expected.")
        return found

    def text(self, block: str, key: str) -> str:
        """Return a value as text, "" if it is empty."""
        value = self._value(block, key)
        return str(value)

    def number(self, block: str, key: str) -> float:
        """Return a finite number."""
        value = self._value(block, key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise StarError(f"{self.path}: _{key} is '{value}', but a number was expected.")
        return float(value)

    def integer(self, block: str, key: str) -> int:
        """Return a whole number."""
        value = self.number(block, key)
        if value != int(value):
            raise StarError(f"{self.path}: _{key} is {value}, but a whole number was expected.")
        return int(value)

    def column(self, block: str, key: str) -> npt.NDArray[np.float64]:
        """Return a loop's column of finite numbers, (rows,)."""
        table = self._blocks.get(block)
        if table is None or isinstance(table, dict):
            raise StarError(f"{self.path}: the loop data_{block} is missing.")
        if key not in table:
            raise StarError(f"{self.path}: the loop data_{block} has no column _{key}.")
        try:
            numbers = np.asarray(table[key], dtype=np.float64)
        except (TypeError, ValueError):
            raise StarError(f"{self.path}: the column _{key} of data_{block} holds text, not numbers.") from None
        bad = np.flatnonzero(~np.isfinite(numbers))
        if bad.size:
            raise StarError(f"{self.path}: row {bad[0] + 1} of data_{block} has no number in _{key}.")
        return numbers

    def has_column(self, block: str, key: str) -> bool:
        """Tell whether a loop is there and has a column."""
        table = self._blocks.get(block)
        return table is not None and not isinstance(table, dict) and key in table

    def texts(self, block: str, key: str) -> list[str]:
        """Return a loop's column as text."""
        if not self.has_column(block, key):
            raise StarError(f"{self.path}: the loop data_{block} has no column _{key}.")
        return [str(value) for value in self._blocks[block][key]]

    def _value(self, block: str, key: str) -> Any:
        values = self.values(block)
        if key not in values:
            raise StarError(f"{self.path}: data_{block} lacks _{key}.")
        return values[key]


def read_star(path: Path, *, first_block_only: bool = False) -> StarFile:
    """Read a STAR file.

    Parameters
    ----------
    first_block_only : leave the rest of a long file alone

    Raises
    ------
    StarError : missing, empty, cut off, or not a STAR file.
    """
    opening = _checked_text(path).partition("\ndata_")[0]
    try:
        with _ONE_READER:
            linecache.clearcache()
            blocks = starfile.read(path, always_dict=True, read_n_blocks=1 if first_block_only else None)
    except Exception as error:  # starfile lets pandas' and shlex's errors through, whatever their type
        raise StarError(f"{path}: not a readable STAR file: {error} (paths must not hold spaces).") from error
    if not blocks:
        raise StarError(f"{path}: holds no data block.")
    return StarFile(path, blocks, opening)


def _checked_text(path: Path) -> str:
    if path.exists() and not path.is_file():  # opening a pipe would wait for somebody to write
        raise StarError(f"{path}: a folder, pipe or device, no regular file.")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StarError(f"{path}: no such file.") from None
    except UnicodeDecodeError:
        raise StarError(f"{path}: not a STAR file; is it a map?") from None
    except OSError as error:
        raise StarError(f"{path}: cannot be read: {error}.") from error
    if not text.strip():
        raise StarError(f"{path}: the file is empty.")
    if not text.endswith("\n"):
        raise StarError(f"{path}: the file ends in the middle of a line; it is cut off or still being written.")
    return text
