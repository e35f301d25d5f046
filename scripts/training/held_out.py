"""What denoisers are measured on: structures of several classes, none of which was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gemmi
import numpy as np

from training.half_maps import Simulated, simulate_half_map
from training.particles import Particle, b_factors, from_structure, laid_map, screw
from training.pdb_entries import fetched
from training.sources import HELD_OUT, VALIDATION, Packages

_FROM_PACKAGES = {"nucleic acid": ("7PBL", "6ZU5"), "assembly": ("4V8R", "6Z6U")}
_FILAMENT, _COPIES, _TWIST_DEGREES, _RISE_ANGSTROM = "1ATN", 7, -166.7, 27.5  # actin's
_ACTIN_CHAIN = "A"
VIRUS = "6QT9"  # a whole capsid, 830 Å: only measured where a larger box than the others' is at hand


def held_out(packages: Packages, folder: Path) -> Iterator[tuple[str, str, Particle]]:
    """Yield the id of each structure, its class, and its atoms; ``folder`` holds the PDB entries."""
    for entry in VALIDATION:
        yield entry, "soluble", from_structure(packages.structure(entry))
    for kind, entries in HELD_OUT.items():
        for entry in entries:
            yield entry, kind, from_structure(fetched(entry, folder))
    for kind, entries in _FROM_PACKAGES.items():
        for entry in entries:
            yield entry, kind, from_structure(packages.structure(entry))
    yield "actin", "filament", _filament(packages)


def virus(packages: Packages) -> tuple[str, str, Particle]:
    """Return the id of a virus, its class, and the atoms of its 60 copies."""
    found = packages.structure(VIRUS)
    found.transform_to_assembly(found.assemblies[0].name, gemmi.HowToNameCopiedChain.Dup)
    return VIRUS, "virus", from_structure(found)


def half_map_of(
    particle: Particle,
    pixel_size: float,
    largest_box: int,
    rng: np.random.Generator,
    finest: float | None = None,
    *,
    under_mask: bool = False,
) -> Simulated:
    """Return a half-map of atoms as they lie, see `laid_map` and `simulate_half_map`."""
    factors = b_factors(particle.places, rng)
    density, laid = laid_map(particle.elements, particle.places, factors, pixel_size, largest_box, rng)
    return simulate_half_map(density.astype(np.float32), laid, rng, finest, under_mask=under_mask)


def _filament(packages: Packages) -> Particle:
    """Return some turns of a screw of actin, whose monomers are packed as near to the axis as they go."""
    found = packages.structure(_FILAMENT)
    for chain in [chain.name for chain in found[0] if chain.name != _ACTIN_CHAIN]:
        found[0].remove_chain(chain)
    rng = np.random.default_rng(1)
    return screw(from_structure(found), _COPIES, _TWIST_DEGREES, _RISE_ANGSTROM, rng)
