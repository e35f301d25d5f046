"""From chains to particles: assemblies, ligands and glycans, B factors, and the electron-scattering map.

Elements are lists of symbols, places (atoms, 3) arrays of x, y, z in Å.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from structures import centre, scattering_map

from training.side_chains import SideChains
from training.structure_database import Backbone

Array = npt.NDArray[np.float64]

LARGEST_BOX = 96
_SMALLEST_BOX = 32
_TOUCHING_ANGSTROM = 3.5
_NEIGHBOURS = 4  # copies that are kept apart from each other
_NEIGHBOURS_WITHIN_ANGSTROM = 10.0
_BOND_ANGSTROM = 1.5


@dataclass(frozen=True)
class Particle:
    """Atoms, and the number of the chain that each belongs to, if that is known."""

    elements: list[str]
    places: Array
    chains: npt.NDArray[np.intp] | None = None


def from_backbones(backbones: list[Backbone], side_chains: SideChains, rng: np.random.Generator) -> Particle:
    """Return the chains in the frame they share, with side chains."""
    elements: list[str] = []
    places = []
    for backbone in backbones:
        elements += ["N", "C", "C", "O"] * len(backbone.sequence)
        places.append(backbone.places.reshape(-1, 3))
        added, where = side_chains.build(backbone, rng)
        elements += added
        places.append(where)
    return Particle(elements, np.concatenate(places))


def from_structure(found: gemmi.Structure) -> Particle:
    """Return all atoms of a structure's first model."""
    sites = list(found[0].all())
    elements = [site.atom.element.name for site in sites]
    chains = np.unique([site.chain.name for site in sites], return_inverse=True)[1]
    return Particle(elements, np.array([site.atom.pos.tolist() for site in sites]), chains)


def ring(particle: Particle, copies: int, rng: np.random.Generator) -> Particle:
    """Return ``copies`` of a particle about an axis, as near to it as they can be without meeting."""
    return screw(particle, copies, 360.0 / copies, 0.0, rng)


def screw(particle: Particle, copies: int, turn_degrees: float, rise: float, rng: np.random.Generator) -> Particle:
    """Return ``copies`` of a particle about an axis, each turned, and raised by ``rise``, Å, against the last one.

    They are as near to the axis as they can be without meeting.
    """
    own = Rotation.random(random_state=rng).apply(particle.places - particle.places.mean(axis=0))
    turns = [Rotation.from_euler("z", turn_degrees * k, degrees=True) for k in range(copies)]
    raised = [np.array([0.0, 0.0, rise * k]) for k in range(copies)]
    radius = np.ptp(own, axis=0).max() / (2 * np.sin(np.pi / copies)) + 5.0
    step = radius / 2
    for _ in range(9):
        moved = own + np.array([radius, 0.0, 0.0])
        tree = cKDTree(moved)
        gaps = [
            tree.query(turn.apply(moved) + up, distance_upper_bound=_TOUCHING_ANGSTROM)[0].min()
            for turn, up in zip(turns[1:_NEIGHBOURS], raised[1:_NEIGHBOURS], strict=True)
        ]
        radius += step if np.isfinite(min(gaps)) else -step
        step /= 2
    moved = own + np.array([radius + 0.5, 0.0, 0.0])
    placed = [turn.apply(moved) + up for turn, up in zip(turns, raised, strict=True)]
    return Particle(particle.elements * copies, np.concatenate(placed))


def with_ligands(particle: Particle, count: int, rng: np.random.Generator) -> Particle:
    """Add branches of 8 to 40 atoms that grow outwards from the surface, as glycans and lipids do."""
    elements, places = list(particle.elements), [particle.places]
    middle = particle.places.mean(axis=0)
    for _ in range(count):
        at = particle.places[rng.integers(len(particle.places))]
        outwards = (at - middle) / (np.linalg.norm(at - middle) + 1e-6)
        atoms = int(rng.integers(8, 41))
        steps = rng.normal(0.0, 1.0, (atoms, 3)) + outwards
        steps *= _BOND_ANGSTROM / np.linalg.norm(steps, axis=1, keepdims=True)
        branch = at + np.cumsum(steps, axis=0)
        elements += [str(symbol) for symbol in rng.choice(["C", "O", "N"], atoms, p=[0.6, 0.35, 0.05])]
        places.append(branch)
    return Particle(elements, np.concatenate(places))


def b_factors(places: Array, rng: np.random.Generator) -> Array:
    """Return B factors, Å²: low where an atom has many neighbours, higher at the surface."""
    neighbours = cKDTree(places).query_ball_point(places, _NEIGHBOURS_WITHIN_ANGSTROM, return_length=True)
    crowding = np.minimum(neighbours / np.percentile(neighbours, 95), 1.0)
    return rng.uniform(5.0, 30.0) + rng.uniform(10.0, 80.0) * (1.0 - crowding)


def laid_out(elements: list[str], bfactors: Array, places: Array) -> gemmi.Structure:
    """Return atoms as a structure."""
    residue = gemmi.Residue()
    residue.name, residue.seqid = "UNL", gemmi.SeqId("1")
    for symbol, place, b in zip(elements, places, bfactors, strict=True):
        atom = gemmi.Atom()
        atom.element = gemmi.Element(symbol)
        atom.pos = gemmi.Position(*place)
        atom.b_iso = b
        residue.add_atom(atom)
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    found = gemmi.Structure()
    found.add_model(model)
    return found


def turned_map(particle: Particle, bfactors: Array, rng: np.random.Generator) -> tuple[Array, float]:
    """Return the map of the particle in a random direction, (n, n, n) z, y, x, and its pixel size, Å.

    The pixel size is drawn: in 50 of 100 cases from 2 to 3.5 Å, in 38 from 0.9 to 2, in 12 from 3.5 to 6; it is
    raised where the box would exceed 96 voxels. The particle lies off the box's middle by up to two voxels.
    """
    places = Rotation.random(random_state=rng).apply(particle.places)
    low, high = [(2.0, 3.5), (0.9, 2.0), (3.5, 6.0)][rng.choice(3, p=[0.5, 0.38, 0.12])]
    return laid_map(particle.elements, places, bfactors, rng.uniform(low, high), LARGEST_BOX, rng)


def laid_map(
    elements: list[str],
    places: Array,
    bfactors: Array,
    pixel_size: float,
    largest_box: int,
    rng: np.random.Generator,
) -> tuple[Array, float]:
    """Return the map of atoms in a box with 8 to 25 Å of room on each side, and its pixel size, Å.

    The pixel size is raised where the box would exceed ``largest_box``.
    """
    room = float(np.ptp(places, axis=0).max()) + rng.uniform(16.0, 50.0)
    pixel_size = max(pixel_size, room / largest_box)
    box = int(np.clip(4 * np.ceil(room / pixel_size / 4), _SMALLEST_BOX, largest_box))
    found = laid_out(elements, bfactors, places)
    centre(found, box, pixel_size)
    off = gemmi.Vec3(*rng.uniform(-2 * pixel_size, 2 * pixel_size, 3).tolist())
    found[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), off))
    density = scattering_map(found, box, pixel_size)
    return density / density.std(), pixel_size
