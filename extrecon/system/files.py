"""Replacing a file whole or not at all. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from extrecon.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and put what was written there in place of ``path`` at the end.

    No reader ever sees half a file; if anything fails, the old file is untouched and nothing is left behind.

    Raises
    ------
    OutputError : the folder is missing or read-only, or the disk is full.
    """
    temporary = path.with_name(f"{temporary_prefix(path)}.{os.getpid()}.tmp")
    try:
        # Made here, and by us: whoever opens it next must not follow a link that lay in wait under its name.
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_prefix(path: Path) -> str:
    """Return how the names of temporary files for ``path`` begin."""
    return f".{path.name}"


def remove_temporary_files(star: Path, pid: int) -> None:
    """Remove what a process that was killed at work on ``star`` had not finished writing beside it."""
    prefix = temporary_prefix(star.with_suffix(""))
    for path in star.parent.glob(f"{prefix}*.{pid}.tmp"):
        path.unlink(missing_ok=True)
