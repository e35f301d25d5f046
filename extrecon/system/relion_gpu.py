"""Which GPU RELION was given: what ``--device auto`` means on a machine that others share.

The hook is a descendant of the RELION process that called it, and inherits the variables that number MPI's ranks.
Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")

_PROC = Path("/proc")
_FURTHEST_ANCESTOR = 12  # between the hook and RELION there are a shell and perhaps wrappers


def device_of_relion(environ: Mapping[str, str], process: int | None = None, proc: Path = _PROC) -> str | None:
    """Return the device that the RELION above this process was given, such as "cuda:2"; None if it was given none.

    Parameters
    ----------
    environ : environment variables; they tell the MPI rank
    process : where to begin, this process if None
    proc : where the system tells of its processes
    """
    for words in _ancestors(os.getpid() if process is None else process, proc):
        name = os.path.basename(words[0]) if words else ""  # noqa: PTH119 - a word of a command line
        if name.startswith("relion_refine"):
            rank = _rank(environ) if "mpi" in name else None
            gpu = gpu_for_rank(words, rank)
            return None if gpu is None else f"cuda:{gpu}"
    return None


def gpu_for_rank(words: Sequence[str], rank: int | None) -> int | None:
    """Return the number of the GPU that a rank of RELION computes on; None where RELION chooses itself.

    ``--gpu 0,1:2,3`` gives GPUs 0 and 1 to the first worker's threads, 2 and 3 to the second's. RELION lets workers
    beyond the lists take any GPU; here they begin with the first list again, and different GPUs of it: none is used
    that was not named. Rank 0 leads and has none: the first GPU stands for it.

    Parameters
    ----------
    words : RELION's command line
    rank : of MPI; None if unknown, or without MPI
    """
    lists = _lists(words)
    if not lists:
        return None
    worker = max(0, (rank or 0) - 1)
    devices = lists[worker % len(lists)]
    return devices[worker // len(lists) % len(devices)]


def _lists(words: Sequence[str]) -> list[list[int]]:
    """Return the lists of GPUs, one a worker; none if the value is missing or not made of numbers alone."""
    for option, value in pairwise(words):
        if option == "--gpu":
            lists = [part.split(",") for part in value.split(":")]
            numbers = [number for part in lists for number in part]
            if all(n.isascii() and n.isdecimal() and len(n) < 4 for n in numbers):
                return [[int(number) for number in part] for part in lists]
            return []
    return []


def _rank(environ: Mapping[str, str]) -> int | None:
    for name in RANK_VARIABLES:
        value = environ.get(name, "")
        if value.isascii() and value.isdecimal():
            return int(value)
    return None


def _ancestors(process: int, proc: Path) -> Iterator[list[str]]:
    """Yield the command lines of a process's parent, its parent's, and so on."""
    for _ in range(_FURTHEST_ANCESTOR):
        try:
            # The second field, in brackets, may itself hold spaces and brackets.
            stat = (proc / str(process) / "stat").read_bytes().rpartition(b")")[2].split()
            process = int(stat[1])
            command = (proc / str(process) / "cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return
        yield [os.fsdecode(word) for word in command.split(b"\0")]
