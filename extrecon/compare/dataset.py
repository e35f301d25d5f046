"""The folder that `extrecon simulate` writes, as a comparison needs it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from extrecon.errors import InputError, UsageError
from extrecon.relion.particles import read_particles
from extrecon.simulate.names import FILES, MODEL

_DECIDING = ("particles.star", "particles.mrcs", "reference.mrc", "true.star", "truth.mrc", "mask.mrc")


@dataclass(frozen=True)
class DataSet:
    """Particles and their truth.

    Attributes
    ----------
    folder : where they lie
    diameter_angstrom, symmetry : what RELION is told
    has_angles : whether the particles have starting angles
    has_ctf : whether the images show a CTF
    sha256 : of all files that decide a refinement or its score
    """

    folder: Path
    diameter_angstrom: float
    symmetry: str
    has_angles: bool
    has_ctf: bool
    sha256: str

    @property
    def model(self) -> Path | None:
        """The atoms in the map's frame, if the data came from a structure."""
        path = self.folder / MODEL
        return path if path.is_file() else None


def read_data_set(folder: Path) -> DataSet:
    """Return the data set in a folder.

    Raises
    ------
    InputError : a file is missing, or the provenance is damaged.
    UsageError : the path has a space, which neither STAR files nor RELION's call of the hook can hold.
    """
    folder = folder.resolve()
    refuse_spaces(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder}: has no {missing[0]}; make the folder with `extrecon simulate`.")
    try:
        told = json.loads((folder / "simulation.json").read_text())
        diameter, symmetry = float(told["particle_diameter_angstrom"]), str(told["symmetry"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'simulation.json'}: is not what `extrecon simulate` writes: {error}."
        ) from error
    particles = read_particles(folder / "particles.star")
    return DataSet(
        folder=folder,
        diameter_angstrom=diameter,
        symmetry=symmetry,
        has_angles=particles.has_poses,
        has_ctf=particles.has_ctf,
        sha256=_digest([folder / name for name in _DECIDING]),
    )


def refuse_spaces(path: Path) -> None:
    """Refuse a path that RELION could not hand to the hook.

    Raises
    ------
    UsageError : it has a space.
    """
    if any(letter.isspace() for letter in str(path)):
        raise UsageError(f"'{path}': RELION cannot work in a path that has a space; move or rename the folder.")


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
