"""Local heterogeneity: one chain that turns about its own middle."""

from __future__ import annotations

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from extrecon.errors import UsageError


def moved(found: gemmi.Structure, chain: str, degrees: float, states: int) -> list[gemmi.Structure]:
    """Return conformations in which a chain is turned about an axis along z through its centre of mass.

    The angles are the middles of ``states`` equally likely parts of a Gaussian of standard deviation ``degrees``.
    The first conformation is the one nearest to the structure as given; the truth that is scored against.

    Raises
    ------
    UsageError : no such chain, fewer than two states, or an angle not above 0.
    """
    if states < 2 or degrees <= 0:
        raise UsageError(f"A moving chain needs two states and an angle above 0, not {states} and {degrees:g}°.")
    names = [each.name for each in found[0]]
    if chain not in names:
        raise UsageError(f"The structure has no chain '{chain}' (it has: {', '.join(names)}).")
    angles = norm.ppf((np.arange(states) + 0.5) / states) * degrees
    conformations = []
    for angle in sorted(angles, key=abs):
        copy = found.clone()
        part = copy[0][chain]
        middle = np.array(part.calculate_center_of_mass().tolist())
        turn = Rotation.from_euler("z", angle, degrees=True)
        for residue in part:
            for atom in residue:
                place = turn.apply(np.array(atom.pos.tolist()) - middle) + middle
                atom.pos = gemmi.Position(*place.tolist())
        conformations.append(copy)
    return conformations
