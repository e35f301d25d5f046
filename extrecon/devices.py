"""Which device ``--device auto`` means, without asking torch. Standard library only."""

from __future__ import annotations

from pathlib import Path

_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def nvidia_driver_is_loaded() -> bool:
    """Tell whether asking torch for CUDA is worth the seconds that importing it takes."""
    return any(path.exists() for path in _DRIVERS)


def queue_of(device: str) -> str:
    """Return the name of the queue for ``--device``: "cpu", or the GPU, such as "cuda:0"."""
    if device == "auto":
        return "cuda:0" if nvidia_driver_is_loaded() else "cpu"
    return "cuda:0" if device == "cuda" else device
