"""Which device ``--device auto`` means, without asking torch. Standard library only."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from extrecon.system.packages import is_installed

_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def nvidia_driver_is_loaded() -> bool:
    """Tell whether there may be a GPU for torch to work on."""
    return any(path.exists() for path in _DRIVERS)


def cuda_may_be_had() -> bool:
    """Tell whether asking torch for CUDA is worth the seconds that importing it takes."""
    return nvidia_driver_is_loaded() and is_installed("torch")


def queue_of(device: str) -> str:
    """Return the name of the queue for ``--device``: "cpu", or the GPU, such as "cuda:0"."""
    if device == "auto":
        return "cuda:0" if cuda_may_be_had() else "cpu"
    return "cuda:0" if device == "cuda" else device


def free_device_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later: others are at work there meanwhile."""
    torch: Any = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def threads_of_a_call(asked: int, cores: int) -> int:
    """Return the threads of one of RELION's calls; 0 ``asked`` for means half the cores if all are to be had.

    RELION calls for both half-maps at once, and threads that wait for a core cost more than they bring. A rank that
    was bound to some cores has them to itself.
    """
    if asked:
        return asked
    return max(1, cores // 2) if cores == os.cpu_count() else cores
