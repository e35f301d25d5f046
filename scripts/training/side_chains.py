"""Side chains for bare backbones, taken from all-atom structures.

Conformers are kept in the frame of their own N, CA and C. On a backbone each residue gets, of a few drawn at random
among the conformers of its kind, the one that meets the fewest other atoms of the backbone. That is far from a
prediction; it gives maps the mass, the shape and the crowding of side chains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import gemmi
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from training.structure_database import Backbone

Array = npt.NDArray[np.float64]

_BACKBONE = ("N", "CA", "C", "O")
_DRAWN = 8
_CONTACT_ANGSTROM = 3.2
_MOST_CONFORMERS = 400


def frames(places: Array) -> Array:
    """Return each residue's axes as rows, (residues, 3, 3), from its N, CA, C in ``places`` (residues, ≥3, 3)."""
    x = places[:, 2] - places[:, 1]
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    n = places[:, 0] - places[:, 1]
    z = np.cross(x, n)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=1)


class SideChains:
    """Conformers by residue name: element symbols, and places (conformers, atoms, 3) in the residue's frame."""

    def __init__(self, structures: Iterable[gemmi.Structure]) -> None:
        gathered: dict[tuple[str, tuple[str, ...]], list[Array]] = defaultdict(list)
        for found in structures:
            for chain in found[0]:
                for residue in chain:
                    self._gather(residue, gathered)
        best: dict[str, tuple[tuple[str, ...], Array]] = {}
        for (name, atoms), places in gathered.items():
            if name not in best or len(places) > len(best[name][1]):
                best[name] = (tuple(atom[0] for atom in atoms), np.array(places[:_MOST_CONFORMERS]))
        self.conformers = best

    @staticmethod
    def _gather(residue: gemmi.Residue, gathered: dict[tuple[str, tuple[str, ...]], list[Array]]) -> None:
        info = gemmi.find_tabulated_residue(residue.name)
        atoms = {atom.name: atom.pos.tolist() for atom in residue}
        if not (info.is_amino_acid() and info.is_standard() and all(name in atoms for name in _BACKBONE)):
            return
        own = tuple(sorted(name for name in atoms if name not in (*_BACKBONE, "OXT")))
        main = np.array([[atoms[name] for name in _BACKBONE]])
        side = np.array([atoms[name] for name in own]).reshape(-1, 3)
        gathered[residue.name, own].append((side - main[0, 1]) @ frames(main)[0].T)

    def build(self, backbone: Backbone, rng: np.random.Generator) -> tuple[list[str], Array]:
        """Return elements and places, Å, of the side chains' atoms on a backbone."""
        axes, centres = frames(backbone.places), backbone.places[:, 1]
        tree = cKDTree(backbone.places.reshape(-1, 3))
        elements: list[str] = []
        places: list[Array] = []
        letters = np.array(list(backbone.sequence))
        for letter in sorted(set(backbone.sequence)):
            name = gemmi.expand_one_letter(letter, gemmi.ResidueKind.AA)
            if name not in self.conformers or not self.conformers[name][0]:
                continue
            kinds, conformers = self.conformers[name]
            where = np.flatnonzero(letters == letter)
            drawn = conformers[rng.integers(len(conformers), size=(len(where), _DRAWN))]
            placed = np.einsum("rdai,rij->rdaj", drawn, axes[where]) + centres[where, None, None]
            met = tree.query_ball_point(placed.reshape(-1, 3), _CONTACT_ANGSTROM, return_length=True)
            fewest = met.reshape(len(where), _DRAWN, -1).sum(axis=2).argmin(axis=1)
            places.append(placed[np.arange(len(where)), fewest].reshape(-1, 3))
            elements += list(kinds) * len(where)
        return elements, np.concatenate(places) if places else np.zeros((0, 3))
