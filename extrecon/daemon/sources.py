"""Whether what the daemon has in memory is still what is on disk."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_METADATA = (".dist-info", ".egg-info")

Stamp = tuple[int, int]


class Sources:
    """The code, plugins and weights that a daemon has loaded, as they were when it did."""

    def __init__(self, files: Iterable[str]) -> None:
        self._stamps = {path: _stamp(path) for path in files}
        self._packages = installed_packages()

    def change(self) -> str | None:
        """Return what has changed since, in one clause; None if nothing has.

        Raises
        ------
        OSError : the system has nothing left to look with.
        """
        for path, stamp in self._stamps.items():
            if _stamp(path) != stamp:
                return f"{path} has changed"
        now = installed_packages()
        if now != self._packages:
            names = sorted(name for name, _ in now ^ self._packages)
            return f"installed packages have changed ({names[0]})"
        return None

    def add(self, files: Iterable[str]) -> None:
        """Watch further files, as they are now."""
        for path in files:
            self._stamps.setdefault(path, _stamp(path))


def installed_packages() -> frozenset[tuple[str, Stamp]]:
    """Return the installed packages, each with a stamp of the plugins it declares.

    Raises
    ------
    OSError : the system has nothing left to read them with.
    """
    found = set()
    for folder in sys.path:
        try:
            with os.scandir(folder or ".") as entries:
                names = [entry.name for entry in entries if entry.name.endswith(_METADATA)]
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise
            continue
        found |= {(name, _stamp(Path(folder, name, "entry_points.txt"))) for name in names}
    return frozenset(found)


def _stamp(path: str | Path) -> Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116  hundreds of them in each call
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
