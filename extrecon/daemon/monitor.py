"""Which regularizers the daemon will need soon: their weights are loaded before local search begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from extrecon.daemon.job import QueuedJob
from extrecon.relion.history import RefinementFolder
from extrecon.relion.watching import FolderHints

LOOK_SECONDS = 10.0
MOST_FOLDERS = 8
ORDERS_AHEAD = 1


class _Refinement:
    """One refinement that the daemon works for.

    Attributes
    ----------
    is_near_local_search : whether, at the last look, the next iterations might be local
    """

    def __init__(self, job: QueuedJob, on_hint: Callable[[], None]) -> None:
        name = job.name
        folder = job.star.parent
        self.folder = RefinementFolder(folder, name.root if name else None)
        self.regularizer = str(job.values["regularizer"])
        self.is_near_local_search = False
        self._always = job.values["apply"] == "always"
        self._hinted = True
        self._looked_at = 0.0
        self._on_hint = on_hint
        self.hints = FolderHints(folder, self._hear)

    def _hear(self) -> None:
        if not self._hinted:
            self._hinted = True
            self._on_hint()

    @property
    def is_due(self) -> bool:
        """Something has happened there, or nobody has looked for long."""
        return self._hinted or time.monotonic() - self._looked_at > LOOK_SECONDS

    def look(self) -> None:
        """Read the folder again."""
        # Before reading: what changes meanwhile is a reason to look once more.
        self._hinted, self._looked_at = False, time.monotonic()
        self.is_near_local_search = self._always or _may_soon_be_local(self.folder)


def _may_soon_be_local(folder: RefinementFolder) -> bool:
    """Tell whether the order of the latest iteration is at most one below that of local search."""
    known = [i for i in folder.iterations() if i.healpix_order is not None and i.local_healpix_order]
    if not known:
        return False
    last = known[-1]
    return (last.healpix_order or 0) + ORDERS_AHEAD >= (last.local_healpix_order or 0)


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
        """Take the next wish: a regularizer to load, and whether with its weights; each is asked for once."""
        for refinement in self._refinements.values():
            name = refinement.regularizer
            if (name, False) not in self._asked:
                return self._ask(name, prepare=False)
            if (name, True) in self._asked or not refinement.is_due:
                continue
            refinement.look()
            if refinement.is_near_local_search:
                return self._ask(name, prepare=True)
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

    def _ask(self, name: str, *, prepare: bool) -> tuple[str, bool]:
        self._asked.add((name, prepare))
        return name, prepare
