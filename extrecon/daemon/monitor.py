"""Watching a refinement's folder: to load a regularizer's weights before local search begins, and for people.

File events are only hints to look again: one may be lost, and none comes for what another host writes. So there is
always a look after some seconds as well, and on a network file system there is nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from extrecon.daemon.job import QueuedJob
from extrecon.relion.history import RefinementFolder
from extrecon.system.limits import files_are_few

LOOK_SECONDS = 10.0
MOST_FOLDERS = 8
ORDERS_AHEAD = 1
_TELLING_EVENTS = frozenset({"created", "moved", "closed", "deleted"})
_NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "fuse",
    "afs",
    "9p",
    "panfs",
    "wekafs",
    "orangefs",
)


def is_on_network(folder: Path) -> bool:
    """Tell whether other hosts may write there without this one being told."""
    best, kind = -1, ""
    with suppress(OSError):
        for mount in psutil.disk_partitions(all=True):
            if folder.resolve().is_relative_to(mount.mountpoint) and len(mount.mountpoint) > best:
                best, kind = len(mount.mountpoint), mount.fstype.lower()
    return kind.startswith(_NETWORK)


class FolderHints(FileSystemEventHandler):
    """Calls back when something in a folder was written whole, removed or renamed.

    Parameters
    ----------
    folder : not its subfolders
    on_hint : called in a thread of the observer's
    """

    def __init__(self, folder: Path, on_hint: Callable[[], None]) -> None:
        self.folder = folder
        self._on_hint = on_hint
        self._observer: Any = None
        if is_on_network(folder) or files_are_few():
            return
        observer = Observer()
        try:
            observer.schedule(self, str(folder))
            observer.start()
        except (OSError, RuntimeError):  # the limit of watches or threads is reached: the looks between remain
            return
        self._observer = observer

    @property
    def has_events(self) -> bool:
        """Whether hints come at all; else only looking helps."""
        return self._observer is not None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Pass on what matters: a file that is still being written is not worth a look."""
        if event.event_type in _TELLING_EVENTS:
            self._on_hint()

    def stop(self) -> None:
        """End the observer's threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None


class Waiting:
    """Waits for a change in a folder, or for a while."""

    def __init__(self, folder: Path) -> None:
        self._event = threading.Event()
        self._hints = FolderHints(folder, self._event.set)

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self._hints.stop()

    def wait(self, seconds: float) -> None:
        """Return after a hint, or after ``seconds``."""
        self._event.wait(seconds)
        self._event.clear()


class _Refinement:
    """One refinement that the daemon works for."""

    def __init__(self, job: QueuedJob, on_hint: Callable[[], None]) -> None:
        name = job.name
        folder = job.star.parent
        self.folder = RefinementFolder(folder, name.root if name else None)
        self.regularizer = str(job.values["regularizer"])
        self.always = job.values["apply"] == "always"
        self.hinted = True
        self.looked_at = 0.0
        self._on_hint = on_hint
        self.hints = FolderHints(folder, self._hear)

    def _hear(self) -> None:
        if not self.hinted:
            self.hinted = True
            self._on_hint()

    def is_near_local_search(self) -> bool:
        """Tell whether the next iterations may be local: the order is at most one below."""
        self.hinted, self.looked_at = False, time.monotonic()
        if self.always:
            return True
        known = [i for i in self.folder.iterations() if i.healpix_order is not None and i.local_healpix_order]
        if not known:
            return False
        last = known[-1]
        return (last.healpix_order or 0) + ORDERS_AHEAD >= (last.local_healpix_order or 0)

    @property
    def is_due(self) -> bool:
        """Something has happened there, or nobody has looked for long."""
        return self.hinted or time.monotonic() - self.looked_at > LOOK_SECONDS


class Monitor:
    """Knows which regularizers will be needed soon.

    Parameters
    ----------
    wake : called, in another thread, when there may be news
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._refinements: dict[Path, _Refinement] = {}
        self._asked: set[tuple[str, bool]] = set()

    def follow(self, job: QueuedJob) -> None:
        """Watch the refinement that this job belongs to."""
        if job.name is None or job.values["apply"] == "never":
            return
        folder = job.star.parent
        known = self._refinements.pop(folder, None)
        if known is None or known.regularizer != str(job.values["regularizer"]):
            if known is not None:
                known.hints.stop()
            known = _Refinement(job, self._wake)
        self._refinements[folder] = known
        while len(self._refinements) > MOST_FOLDERS:
            self._refinements.pop(next(iter(self._refinements))).hints.stop()

    def wish(self) -> tuple[str, bool] | None:
        """Return a regularizer to load, and whether with its weights; each is asked for once."""
        for refinement in self._refinements.values():
            name = refinement.regularizer
            if self._is_new(name, prepare=False):
                return name, False
            if (name, True) in self._asked or not refinement.is_due:
                continue
            if refinement.is_near_local_search() and self._is_new(name, prepare=True):
                return name, True
        return None

    def forget(self) -> None:
        """Ask again: a new warm process has loaded nothing."""
        self._asked.clear()

    def describe(self) -> list[str]:
        """Return the folders, for people."""
        return [
            f"{folder} ({'by events' if refinement.hints.has_events else 'by looking'})"
            for folder, refinement in self._refinements.items()
        ]

    def stop(self) -> None:
        """End all watching."""
        for refinement in self._refinements.values():
            refinement.hints.stop()

    def _is_new(self, name: str, *, prepare: bool) -> bool:
        if (name, prepare) in self._asked:
            return False
        self._asked.add((name, prepare))
        return True
