"""The 24 ways to lay a cube on itself without a mirror: what a network has to say should not depend on them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Turn:
    """A rotation that keeps the grid: the last three axes are put in another order, and some of them reversed."""

    order: tuple[int, ...]
    reversed_axes: tuple[int, ...]

    def applied(self, volumes: Array) -> Array:
        """Return (..., m, m, m) volumes, turned."""
        lead = volumes.ndim - 3
        moved = volumes.transpose(*range(lead), *(lead + axis for axis in self.order))
        turned: Array = np.flip(moved, tuple(lead + axis for axis in self.reversed_axes))
        return turned

    def undone(self, volumes: Array) -> Array:
        """Return what `applied` was given."""
        lead = volumes.ndim - 3
        moved: Array = np.flip(volumes, tuple(lead + axis for axis in self.reversed_axes))
        return moved.transpose(*range(lead), *(lead + int(axis) for axis in np.argsort(self.order)))

    def is_proper(self) -> bool:
        """Tell whether handedness stays."""
        matrix = np.eye(3)[list(self.order)]
        return bool(np.linalg.det(matrix) * (-1) ** len(self.reversed_axes) > 0)


def turns() -> list[Turn]:
    """Return the 24, what changes nothing first; the first four are a group, and so are the first twelve."""
    axes = range(3)
    subsets = [tuple(axis for axis in axes if kept[axis]) for kept in product((False, True), repeat=3)]
    all_of_them = [Turn(order, flipped) for order in permutations(axes) for flipped in subsets]
    proper = [turn for turn in all_of_them if turn.is_proper()]
    return sorted(proper, key=lambda turn: (len(turn.reversed_axes) % 2, turn.order != (0, 1, 2)))
