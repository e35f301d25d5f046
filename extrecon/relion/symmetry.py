"""RELION's point groups, as rotations of the map."""

from __future__ import annotations

import re

import numpy as np
from scipy.spatial.transform import Rotation

from extrecon.errors import UsageError

_GOLDEN = (1 + 5**0.5) / 2
_SAME_DEGREES = 0.01


def symmetry_group(name: str) -> Rotation:
    """Return the rotations of a point group in RELION's setting of its axes, identity first.

    Cn: the axis along z. Dn: a twofold along x too. T: a threefold along z, a twofold in the yz plane. O: fourfolds
    along x, y, z. I (the same as I2): twofolds along x, y, z, a fivefold in the xz plane; I1: I2 turned by 90°
    about z.

    Parameters
    ----------
    name : as RELION's ``--sym``: C1, C4, D2, T, O, I, I1, I2

    Raises
    ------
    UsageError : not one of these.
    """
    generators = _generators(name.strip().upper())
    if generators is None:
        raise UsageError(f"The symmetry '{name}' is unknown; give Cn, Dn, T, O, I, I1 or I2.")
    found = [Rotation.identity()]
    for member in found:  # grows while it is read, until every product is in it
        for generator in generators:
            product = generator * member
            if all((product * other.inv()).magnitude() > np.radians(_SAME_DEGREES) for other in found):
                found.append(product)
    return Rotation.concatenate(found)


def _generators(name: str) -> list[Rotation] | None:
    if match := re.fullmatch(r"([CD])([1-9]\d?)", name):
        cyclic = [_fold(int(match[2]), (0, 0, 1))]
        return cyclic if match[1] == "C" else [*cyclic, _fold(2, (1, 0, 0))]
    icosahedral = [_fold(2, (0, 0, 1)), _fold(5, (1, 0, _GOLDEN)), _fold(3, (1, 1, 1))]
    quarter = _fold(4, (0, 0, 1))
    known = {
        "T": [_fold(3, (0, 0, 1)), _fold(2, (0, 2**0.5, 1))],
        "O": [quarter, _fold(3, (1, 1, 1))],
        "I": icosahedral,
        "I2": icosahedral,
        "I1": [quarter * member * quarter.inv() for member in icosahedral],
    }
    return known.get(name)


def _fold(order: int, axis: tuple[float, float, float]) -> Rotation:
    direction = np.asarray(axis, dtype=np.float64)
    return Rotation.from_rotvec(2 * np.pi / order * direction / np.linalg.norm(direction))
