"""Frequency grids in FFT order: integer coordinates, windows, and real-space crops around the origin.

An array "in FFT order" has frequency 0 at index 0 and negative frequencies in the upper half of each axis. A
half-complex array keeps only frequencies from 0 upwards on its last axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Array, Compute


def round_half_up(value: float) -> int:
    """Round to the nearest integer, halves upwards, as RELION does (Python rounds halves to even)."""
    return math.floor(value + 0.5)


def full_axis(length: int) -> npt.NDArray[np.int64]:
    """Return the integer frequencies of a full axis in FFT order, (length,)."""
    k = np.arange(length)
    return np.where(k <= (length - 1) // 2, k, k - length)


def squared_radius(axes: Sequence[Array]) -> Array:
    """Return the sum of squares of 1D coordinate arrays, broadcast to one dimension per axis."""
    total: Array = 0
    for index, axis in enumerate(axes):
        shape = [1] * len(axes)
        shape[index] = axis.shape[0]
        total = total + axis.reshape(shape) ** 2
    return total


def window_full_axis(array: Array, axis: int, radius: int, length: int, compute: Compute) -> Array:
    r"""Keep the frequencies \|k\| < ``radius`` of one axis in FFT order and lay them on ``length`` points."""
    size = array.shape[axis]
    positive = _part(array, axis, 0, radius)
    negative = _part(array, axis, size - radius + 1, size)
    gap = _zeros(array, axis, length - positive.shape[axis] - negative.shape[axis], compute)
    return compute.xp.concat([positive, gap, negative], axis=axis)


def window_half_axis(array: Array, axis: int, radius: int, length: int, compute: Compute) -> Array:
    """Keep the frequencies 0 ≤ k < ``radius`` of a halved axis and lay them on ``length`` points."""
    kept = _part(array, axis, 0, radius)
    return compute.xp.concat([kept, _zeros(array, axis, length - kept.shape[axis], compute)], axis=axis)


def crop_around_origin(array: Array, axis: int, length: int, compute: Compute) -> Array:
    """Return ``length`` samples of a periodic axis, moving its sample 0 to index ``length // 2``."""
    size = array.shape[axis]
    half = length // 2
    left = _part(array, axis, size - half, size)
    return compute.xp.concat([left, _part(array, axis, 0, length - half)], axis=axis)


def _part(array: Array, axis: int, start: int, stop: int) -> Array:
    return array[(slice(None),) * axis + (slice(start, stop),)]


def _zeros(array: Array, axis: int, length: int, compute: Compute) -> Array:
    shape = list(array.shape)
    shape[axis] = length
    return compute.zeros_like(array, tuple(shape))
