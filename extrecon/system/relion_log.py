"""RELION's log, which is the hook's standard output and error. Standard library only."""

from __future__ import annotations

import os
from contextlib import suppress


def open_what_is_closed() -> None:
    """Give the three standard streams a sink if they are closed: else the next file opened would be the log."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def say(line: str) -> None:
    """Write one line."""
    # One write a line: two ranks share the log.
    with suppress(OSError):
        os.write(1, _bytes(f" {line}\n"))


def say_error(text: str) -> None:
    """Write an error's sentence, or its traceback."""
    with suppress(OSError):
        os.write(2, _bytes(f" extrecon: ERROR: {text}\n"))


def _bytes(text: str) -> bytes:
    # A folder's name may hold any byte; what cannot be encoded is written as its escape.
    return text.encode("utf-8", "backslashreplace")
