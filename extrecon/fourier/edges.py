"""The soft edge that masks and filters share: half a cosine."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Float = TypeVar("_Float", bound=np.floating[Any])


def falling_edge(beyond: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Return 1 where ``beyond`` ≤ 0, 0 where it is 1 or more, half a cosine between; same shape and type.

    ``beyond`` is how far a point lies beyond the edge's beginning, in units of the edge's width.
    """
    edge: npt.NDArray[_Float] = 0.5 + 0.5 * np.cos(np.pi * np.clip(beyond, 0.0, 1.0))
    return edge
