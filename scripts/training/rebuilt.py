"""All-atom chains from the backbones of ProMod3's structure database, with side chains that ProMod3 packs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import gemmi
import numpy as np

from training.particles import Particle
from training.structure_database import Backbone

_PROGRAM = Path(__file__).with_name("rebuild_side_chains")
_ATOMS = ("N", "CA", "C", "O")


def rebuilt(backbones: Iterable[Backbone], folder: Path) -> dict[str, Particle]:
    """Return the atoms of each chain, under ENTRY_CHAIN; ``folder`` keeps them as PDB files.

    Needs Debian's python3-promod3, which works in Debian's own Python.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for backbone in backbones:
        name = f"{backbone.entry}_{backbone.chain}"
        names.append(name)
        as_structure(backbone).write_minimal_pdb(str(folder / f"{name}.backbone.pdb"))
    try:
        subprocess.run([str(_PROGRAM), str(folder)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{_PROGRAM.name}: {error}. It needs ProMod3: apt-get install python3-promod3.")
    return {name: _read(folder / f"{name}.pdb") for name in names}


def as_structure(backbone: Backbone) -> gemmi.Structure:
    """Return a backbone as a structure of one chain."""
    chain = gemmi.Chain("A")
    for number, (letter, places) in enumerate(zip(backbone.sequence, backbone.places, strict=True), 1):
        residue = gemmi.Residue()
        residue.name = gemmi.expand_one_letter(letter, gemmi.ResidueKind.AA) or "GLY"
        residue.seqid = gemmi.SeqId(number, " ")
        for name, place in zip(_ATOMS, places, strict=True):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = name, gemmi.Element(name[0]), gemmi.Position(*place)
            residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    found = gemmi.Structure()
    found.add_model(model)
    return found


def _read(path: Path) -> Particle:
    found = gemmi.read_pdb(str(path))  # must outlive its atoms
    atoms = [site.atom for site in found[0].all()]
    return Particle([atom.element.name for atom in atoms], np.array([atom.pos.tolist() for atom in atoms]))
