"""One comparison at a time in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extrecon.errors import UsageError


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other comparisons out of a folder.

    Raises
    ------
    UsageError : another one works there.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another comparison is at work here; wait for its end.") from None
        yield
