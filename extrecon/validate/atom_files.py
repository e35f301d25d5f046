"""FSC-Q for other programs: a table of all atoms, the model coloured by it, and a map."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from extrecon.atoms.scattering import read_structure
from extrecon.maps.half_map import HalfMap
from extrecon.maps.mrc import write_map
from extrecon.system.files import replacing
from extrecon.validate.fsc_q import FscQ

TABLE, MODEL, MAP = "validation_fsc_q.csv", "validation_fsc_q.cif", "validation_fsc_q.mrc"
_COLUMNS = ("chain", "residue", "atom", "alternative", "fsc_q_angstrom", "fsc_q_relative")


def write_atoms(folder: Path, found: FscQ, model: Path) -> list[Path]:
    """Write each atom's FSC-Q as a table and as the B factor of the model's atoms, and return both paths.

    The model stays where it stands, without waters and hydrogens; atoms outside the box get 0.

    Parameters
    ----------
    folder : which must be there
    model : that was scored
    """
    with replacing(folder / TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for atom, value, relative in zip(found.atoms, found.values_angstrom, found.relative, strict=True):
            writer.writerow([*atom, f"{value:.4f}", f"{relative:.5f}"])
    structure = read_structure(model)
    structure.remove_hydrogens()
    for site, value in zip(structure[0].all(), found.values_angstrom, strict=True):
        site.atom.b_iso = float(value) if np.isfinite(value) else 0.0
    with replacing(folder / MODEL) as temporary:
        structure.make_mmcif_document().write_file(str(temporary))
    return [folder / TABLE, folder / MODEL]


def write_fsc_q_map(folder: Path, found: FscQ, like: HalfMap) -> Path:
    """Write FSC-Q (Å) at every voxel of the map that was scored, and return the path."""
    write_map(folder / MAP, like.with_density(found.local.volume(found.local.fsc_q)))
    return folder / MAP
