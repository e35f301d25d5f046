"""What the system allows this process: limits and groups, in words, and whether there is enough to start at all.

Standard library only.
"""

from __future__ import annotations

import os
import resource

from extrecon.errors import ExtreconError

ENOUGH_FILES = 256
"""Open files that serve any call; a difference above does not matter, and MPI programs like to raise the limit."""
LEAST_ADDRESS_SPACE = 600_000_000
"""Bytes of address space that importing NumPy, SciPy and pandas takes on two cores, rounded up."""

_LIMITS = {
    "the limit of address space (ulimit -v)": resource.RLIMIT_AS,
    "the limit of data (ulimit -d)": resource.RLIMIT_DATA,
    "the limit of a file's size (ulimit -f)": resource.RLIMIT_FSIZE,
    "the limit of processor time (ulimit -t)": resource.RLIMIT_CPU,
    "the limit of processes (ulimit -u)": resource.RLIMIT_NPROC,
}
_FILES = "the limit of open files (ulimit -n)"


def privileges() -> dict[str, str]:
    """Return what this process may do, each thing by its name for people: what decides whether work succeeds."""
    told = {name: " of ".join(map(_words, resource.getrlimit(number))) for name, number in _LIMITS.items()}
    told[_FILES] = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) if files_are_few() else "enough"
    told["the set of groups"] = ", ".join(map(str, sorted(set(os.getgroups()))))
    return told


def files_are_few() -> bool:
    """Tell whether so few files may be open that they have to be kept for what is necessary."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit != resource.RLIM_INFINITY and limit < ENOUGH_FILES


def require_memory() -> None:
    """Make sure that the limits leave enough memory to import what the work needs.

    It must be asked before: where the address space is too small, OpenBLAS tries again without end.

    Raises
    ------
    ExtreconError : they do not.
    """
    for name in ("the limit of address space (ulimit -v)", "the limit of data (ulimit -d)"):
        soft = resource.getrlimit(_LIMITS[name])[0]
        if soft != resource.RLIM_INFINITY and soft < LEAST_ADDRESS_SPACE:
            least = LEAST_ADDRESS_SPACE // 1_000_000
            raise ExtreconError(
                f"{name} is {soft // 1_000_000} MB, and {least} MB are needed; raise it, or set none"
            )


def _words(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
