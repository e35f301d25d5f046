"""The regularizer where nobody has named one: the best that was measured, if what it needs is installed."""

from __future__ import annotations

from extrecon.system.packages import is_installed

AUTO = "auto"
BEST, BEST_NEEDS = "cnn", ("torch", "safetensors")
WITHOUT = "localdeblur"
"""It needs nothing besides extrecon."""


def named(regularizer: str) -> str:
    """Return the regularizer's name, the best one's for `AUTO`."""
    if regularizer != AUTO:
        return regularizer
    return BEST if all(is_installed(package) for package in BEST_NEEDS) else WITHOUT
