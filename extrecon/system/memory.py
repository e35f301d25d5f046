"""Keep freed memory for the next array, and tell how much is used and how much there is. Standard library only.

By default glibc returns each large array to the kernel when it is freed, and the next one is paid for again, page
by page. The transforms here free and take arrays of the same few sizes over and over: touching fresh pages then
costs as much as the arithmetic.

The whole process is changed by this, so only programs say it, of processes that are theirs to the end: the hook and
the daemon's runner, and the commands that transform maps. Who calls the library from a program of their own decides
for themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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


def release_freed_memory() -> None:
    """Give the kernel back what was freed: others may need it, and what follows works with other sizes."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


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


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has now; 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_memory_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how much memory this process may still take without swapping; 0 if that cannot be looked up.

    That of the host, or what a batch system's or a container's limit (its control group) leaves of it.
    """
    try:
        told = (proc / "meminfo").read_text(encoding="ascii")
        host = 1024 * int(told.partition("MemAvailable:")[2].split()[0])
    except (OSError, ValueError, IndexError):  # no more files may be open, say
        return 0
    return min([host, *_left_by_groups(proc, groups)])


def _left_by_groups(proc: Path, groups: Path) -> Iterator[int]:
    """Yield what each control group that this process belongs to leaves it, of those with a limit."""
    try:
        lines = (proc / "self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            root, limit, used, files = groups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit = groups / "memory", "memory.limit_in_bytes"
            used, files = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        for folder in (Path(name), *Path(name).parents):
            with suppress(OSError, ValueError, IndexError):  # "max" is no number: there is no limit
                group = root / str(folder).lstrip("/")
                most = int((group / limit).read_text())
                # Files that were read count as used, but make room when it is needed.
                words = (group / "memory.stat").read_text().split()
                cached = int(words[words.index(files) + 1])
                yield max(0, most - int((group / used).read_text()) + cached)
