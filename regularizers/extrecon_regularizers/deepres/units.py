"""The unit in which the network tells resolution; for NumPy's arrays and, in training, torch's."""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import array_namespace

MIDDLE_VOXELS = 6.0
"""A resolution of so many voxels has the logarithm 0 in the network's unit."""

FINEST_VOXELS, COARSEST_VOXELS = 2.0, 16.0
ERROR_FLOOR = 0.005
"""Added to the error that the network states, as a share of the resolution."""

Array = Any


def to_unit(voxels: Array, unit: str) -> Array:
    """Return a resolution in voxels as the network tells it: near 0, and some ±1."""
    if unit == "angstrom":
        return (voxels - 7.0) / 3.0
    if unit == "frequency":
        return (1.0 / voxels - 0.2) / 0.1
    return array_namespace(voxels).log(voxels / MIDDLE_VOXELS) / 0.5


def from_unit(told: Array, log_error: Array, unit: str) -> tuple[Array, Array]:
    """Undo `to_unit`; also return the expected absolute error, both in voxels."""
    xp = array_namespace(told)
    error = xp.exp(log_error)
    if unit == "angstrom":
        voxels = xp.clip(7.0 + 3.0 * told, FINEST_VOXELS, COARSEST_VOXELS)
        return voxels, 3.0 * error + ERROR_FLOOR * voxels
    if unit == "frequency":
        voxels = 1.0 / xp.clip(0.2 + 0.1 * told, 1 / COARSEST_VOXELS, 1 / FINEST_VOXELS)
        return voxels, 0.1 * error * voxels**2 + ERROR_FLOOR * voxels
    low, high = (math.log(edge / MIDDLE_VOXELS) for edge in (FINEST_VOXELS, COARSEST_VOXELS))
    voxels = MIDDLE_VOXELS * xp.exp(xp.clip(0.5 * told, low, high))
    return voxels, (0.5 * error + ERROR_FLOOR) * voxels
