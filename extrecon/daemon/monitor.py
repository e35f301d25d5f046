"""Watching a refinement's folder, for people.

File events are only hints to look again: one may be lost, and none comes for what another host writes. So there is
always a look after some seconds as well, and on a network file system there is nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from extrecon.system.limits import files_are_few

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
