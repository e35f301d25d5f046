"""The maps that DeepRes is trained on: cubes of 64 Å, in random directions, of structures at rest.

A cube is made once, without B factors, at 0.5 Å a voxel (128³, half precision) and at 1.0 Å (64³). Proteins are
those that the denoiser is trained on, whose likeness to structures kept for evaluation has been looked at. Nucleic
acids come from protein-DNA complexes of the PDB, and from the RNA of 3JB9.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from structures import scattering_map

from extrecon_regularizers.cnn.resample import resampled
from training.particles import Particle, laid_out
from training.protected import unlike
from training.sources import EVALUATION, RELATIVES, VALIDATION

EDGE_ANGSTROM = 64.0
FINE_VOXEL, COARSE_VOXEL = 0.5, 1.0
_MARGIN_ANGSTROM = 2.0
_SMALLEST = 400  # atoms in a cube
_BONDED_ANGSTROM = 2.0  # what the cube's faces have cut off from all its neighbours is left out
_MOST_CUBES = 4
_ATOMS_A_CUBE = 6000

# Protein-DNA complexes (van Dijk and Bonvin 2008, the protein-DNA docking benchmark).
_NUCLEIC = (
    "1A74 1AZP 1B3T 1BDT 1BY4 1CMA 1DDN 1DFM 1DIZ 1EA4 1EMH 1EYU 1F4K 1FOK 1G9Z 1H9T",
    "1HJC 1JJ4 1JT0 1K79 1KC6 1KSY 1MNN 1O3T 1PT3 1QNE 1QRV 1R4O 1RPE 1RVA 1TRO 1VAS",
    "1VRR 1W0T 1Z63 1Z9C 1ZME 1ZS4 2C5R 2FIO 2FL3 2IRF 2OAA 3BAM 3CRO 4KTQ 7MHT",
)
NUCLEIC = tuple(" ".join(_NUCLEIC).split())
RNA = "3JB9"


def nucleic_entries(folder: Path, kept_away: set[str]) -> Iterator[tuple[str, Particle]]:
    """Yield protein-DNA complexes but those that hold a protein like one of ``kept_away``."""
    fit = [entry for entry in NUCLEIC if entry not in {*EVALUATION, *RELATIVES, *VALIDATION}]
    yield from ((entry, particle) for entry, particle in unlike(fit, folder, kept_away) if particle is not None)


def only_nucleic(found: gemmi.Structure) -> Particle:
    """Return the nucleotides of a structure and nothing else."""
    kept = [
        (atom.element.name, atom.pos.tolist())
        for chain in found[0]
        for residue in chain
        if gemmi.find_tabulated_residue(residue.name).is_nucleic_acid()
        for atom in residue
    ]
    return Particle([element for element, _ in kept], np.array([place for _, place in kept]))


def make_cubes(entry: str, particle: Particle, folder: Path, count: int = 0) -> int:
    """Write the cubes of a particle that do not exist yet, ``count`` or by its size; return how many there are.

    Beside the maps ENTRY_NUMBER.npy and ENTRY_NUMBER_coarse.npy lies ENTRY_NUMBER_chains.npy: which chain each of
    the coarse map's voxels is nearest to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = count or int(np.clip(round(len(particle.places) / _ATOMS_A_CUBE), 1, _MOST_CUBES))
    written = 0
    for number in range(count):
        path = folder / f"{entry}_{number}.npy"
        chains = folder / f"{entry}_{number}_chains.npy"
        if not (path.exists() and chains.exists()):
            rng = np.random.default_rng([int.from_bytes(entry.encode(), "big"), number])
            inside = in_a_cube(particle, rng, whole=count == 1)
            if inside is None:
                continue
            np.save(chains, nearest_chain(inside))
            if not path.exists():
                _write_maps(inside, path)
        written += 1
    return written


def _write_maps(inside: Particle, path: Path) -> None:
    """Write the maps of what lies in a cube, the coarse one first: where there is the other, all is there."""
    fine = rest_map(inside.elements, inside.places, FINE_VOXEL, int(EDGE_ANGSTROM / FINE_VOXEL))
    coarse = resampled(fine, int(EDGE_ANGSTROM / COARSE_VOXEL))
    np.save(path.with_name(f"{path.stem}_coarse.npy"), coarse.astype(np.float16))
    temporary = path.with_name(f".{path.name}")
    np.save(temporary, fine)
    temporary.rename(path)


def in_a_cube(particle: Particle, rng: np.random.Generator, *, whole: bool) -> Particle | None:
    """Return what lies in a cube about some atom, or about the middle, turned at random; None: next to nothing."""
    middle = particle.places.mean(axis=0) if whole else particle.places[rng.integers(len(particle.places))]
    turned = Rotation.random(random_state=rng).apply(particle.places - middle)
    reach = EDGE_ANGSTROM / 2 - _MARGIN_ANGSTROM
    inside = np.flatnonzero((np.abs(turned) < reach).all(axis=1))
    if len(inside) < _SMALLEST:
        return None
    alone = np.asarray(cKDTree(turned[inside]).query(turned[inside], k=2)[0])[:, 1] >= _BONDED_ANGSTROM
    inside = inside[~alone]
    elements = [particle.elements[i] for i in inside]
    chains = None if particle.chains is None else particle.chains[inside]
    return Particle(elements, turned[inside] + EDGE_ANGSTROM / 2, chains)


def nearest_chain(inside: Particle) -> npt.NDArray[np.uint8]:
    """Return which chain each voxel of a cube's coarse map is nearest to, (z, y, x); 0 if chains are unknown."""
    box = int(EDGE_ANGSTROM / COARSE_VOXEL)
    if inside.chains is None or not inside.chains.any():
        return np.zeros((box,) * 3, dtype=np.uint8)
    voxels = np.indices((box,) * 3).reshape(3, -1)[::-1].T * COARSE_VOXEL
    nearest = cKDTree(inside.places).query(voxels)[1]
    return np.asarray(inside.chains[nearest], dtype=np.uint8).reshape((box,) * 3)


def rest_map(
    elements: list[str], places: npt.NDArray[np.float64], pixel_size: float, box: int
) -> npt.NDArray[np.float16]:
    """Return the electron-scattering map, Å⁻², of atoms that do not move.

    They are laid on voxels of 0.5 Å, which keeps what is coarser than 1.4 Å free of folding.
    """
    found = laid_out(elements, np.zeros(len(elements)), places)
    edge = box * pixel_size
    found.cell = gemmi.UnitCell(edge, edge, edge, 90, 90, 90)
    found.spacegroup_hm = "P 1"
    return scattering_map(found, box, pixel_size, fine=max(round(pixel_size / FINE_VOXEL), 1)).astype(np.float16)
