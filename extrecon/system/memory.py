"""Keep freed memory for the next array, and tell how much was used. Standard library only.

By default glibc returns each large array to the kernel when it is freed, and the next one is paid for again, page
by page. The transforms here free and take arrays of the same few sizes over and over: touching fresh pages then
costs as much as the arithmetic.

The whole process is changed by this, so only programs say it, of processes that are theirs to the end: the hook and
the daemon's runner, and the commands that transform maps. Who calls the library from a program of their own decides
for themselves.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


@cache
def keep_freed_memory() -> None:
    """Tell glibc to serve large arrays from its heap and to keep what is freed; elsewhere do nothing."""
    import ctypes

    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def peak_memory_megabytes(status: Path = Path("/proc/self/status")) -> float | None:
    """Return the most memory that this process has had since it was forked or started, MB; None if unknown.

    The kernel's own figure for this program. What getrusage tells also counts whatever started it, RELION say.
    """
    try:
        lines = status.read_text("ascii", "replace").splitlines()
        words = next(line.split() for line in lines if line.startswith("VmHWM:"))
        return round(int(words[1]) * 1024 / 1e6, 1)
    except (OSError, StopIteration, ValueError, IndexError):
        return None
