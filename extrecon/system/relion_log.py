"""RELION's log, which is the hook's standard output and error. Standard library only."""

from __future__ import annotations

import os
from contextlib import suppress

_OUT_OF_THE_WAY = 200  # programs that close what they find begin at the bottom
_KEPT: dict[int, int] = {}


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
    _write(1, f" {line}\n")


def say_error(text: str) -> None:
    """Write an error's sentence, or its traceback."""
    _write(2, f" extrecon: ERROR: {text}\n")


def keep_log() -> None:
    """Keep a way to the log that is there still when a plugin has closed the standard streams."""
    import fcntl

    for number in (1, 2):
        with suppress(OSError, ValueError):
            _KEPT[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)


def _write(number: int, text: str) -> None:
    # A folder's name may hold any byte; what cannot be encoded is written as its escape.
    content = text.encode("utf-8", "backslashreplace")
    for descriptor in (_KEPT.get(number, number), number):
        with suppress(OSError):
            os.write(descriptor, content)
            return
