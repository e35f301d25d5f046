"""When a daemon that nobody needs ends."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from extrecon.daemon.place import namespace

ALONE_SECONDS = 30.0
GRACE_SECONDS = 0.5
"""A client that has just come is heard first."""


class Idleness:
    """Knows since when a daemon has had nothing to do.

    Parameters
    ----------
    limit_seconds : it should end when nobody has asked anything for so long
    """

    def __init__(self, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self.began = self._asked_at = self._heard_at = self._looked_at = time.monotonic()
        self._worked_at = -math.inf

    def heard(self) -> None:
        """Take note that somebody is there, and may want something."""
        self._heard_at = time.monotonic()

    def asked(self) -> None:
        """Take note that somebody wants something done; who only asks how it stands keeps no daemon alive."""
        self._asked_at = time.monotonic()

    def at_work(self) -> None:
        """Take note that there are jobs."""
        self._asked_at = self._worked_at = self._looked_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """For how long nobody has asked anything."""
        return time.monotonic() - self._asked_at

    @property
    def seconds_since_work(self) -> float:
        """For how long there has been no job; infinite if there never was one."""
        return time.monotonic() - self._worked_at

    def reason_to_end(self, own: Collection[int]) -> str | None:
        """Return why a daemon without jobs, with these processes of its own, should end; None if it should not."""
        if self.seconds > self.limit_seconds and time.monotonic() - self._heard_at > GRACE_SECONDS:
            return "nothing was asked of the daemon for a while"
        now = time.monotonic()
        if now - self._looked_at > ALONE_SECONDS:
            self._looked_at = now
            if is_alone(own):
                return "nothing else is left of this user in the daemon's mount namespace"
        return None


def is_alone(own: Collection[int]) -> bool:
    """Tell whether only these processes are left of this user in this mount namespace.

    Container programs that make a namespace for each call leave a daemon in each behind, which nobody can reach.
    """
    here = namespace("mnt")
    with suppress(OSError):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in own and namespace("mnt", entry.name) == here:
                return False
    return bool(here)
