"""Whose turn it is where two halves are too large for the memory together, and no daemon sees both.

RELION calls for both halves at once. A call that would take more than half of what there is locks their folder
while it works; the other one, which sees as much, waits. The kernel takes the lock from whoever ends, in whatever
way.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from extrecon.system.memory import available_memory_bytes, resident_bytes

LONGEST_WAIT_SECONDS = 1800.0
_POLL_SECONDS = 0.2


class Room:
    """The memory of this host, as one call sees it.

    Parameters
    ----------
    folder : of the call's files, which is locked; where it cannot be, nobody waits
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    def enter(self, needed: int) -> float:
        """Wait until there is room for a process of so many bytes, and return for how many seconds that was."""
        self.leave()
        if 2 * needed <= available_memory_bytes() + resident_bytes(os.getpid()):
            return 0.0
        began = time.monotonic()
        with suppress(OSError):
            self._lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            while time.monotonic() - began < LONGEST_WAIT_SECONDS:
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_POLL_SECONDS)
        return time.monotonic() - began

    def leave(self) -> None:
        """Let the other one work."""
        if self._lock is not None:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = None
