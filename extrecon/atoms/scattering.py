"""Electron-scattering maps of atomic structures, and the low-pass filter that truths and references need."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from extrecon.errors import InputError, UsageError
from extrecon.fourier.edges import falling_edge

Array = npt.NDArray[np.float64]

_BEFORE_LINE_NUMBERS = 72  # columns of a PDB file


def read_structure(path: Path, assembly: str | None = None) -> gemmi.Structure:
    """Read a PDB or mmCIF file without its waters.

    Parameters
    ----------
    path : of the file
    assembly : name of a biological assembly in the file, to be built; None for the atoms as they stand

    Raises
    ------
    InputError : missing, not a structure, or without atoms.
    UsageError : no such assembly.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    try:
        found = _read(path)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not a readable PDB or mmCIF file: {error}") from error
    found.setup_entities()
    found.remove_waters()
    if len(found) == 0 or found[0].count_atom_sites() == 0:
        raise InputError(f"{path}: holds no atoms besides waters.")
    if assembly is not None:
        known = [each.name for each in found.assemblies]
        if assembly not in known:
            raise UsageError(f"{path}: has no assembly '{assembly}' (it has: {', '.join(known) or 'none'}).")
        found.transform_to_assembly(assembly, gemmi.HowToNameCopiedChain.Short)
    return found


def _read(path: Path) -> gemmi.Structure:
    """Return what a file holds; old PDB files number their lines where later ones have elements and charges."""
    try:
        return gemmi.read_structure(str(path))
    except RuntimeError:
        if not {".pdb", ".ent"} & {suffix.lower() for suffix in path.suffixes}:
            raise
        return gemmi.read_pdb(str(path), max_line_length=_BEFORE_LINE_NUMBERS)


def centre(found: gemmi.Structure, box: int, pixel_size: float) -> None:
    """Put the middle of the structure's extent at voxel ``box // 2`` of a cubic cell; ``pixel_size`` in Å."""
    places = atom_places(found)
    _move(found, box, pixel_size, (places.min(axis=0) + places.max(axis=0)) / 2)


def centre_of_mass(found: gemmi.Structure, box: int, pixel_size: float) -> None:
    """Put the structure's centre of mass at voxel ``box // 2`` of a cubic cell; ``pixel_size`` in Å."""
    _move(found, box, pixel_size, np.array(found[0].calculate_center_of_mass().tolist()))


def place_origin(found: gemmi.Structure, box: int, pixel_size: float) -> None:
    """Put the structure's own origin at voxel ``box // 2``: a symmetric assembly keeps its axes there."""
    _move(found, box, pixel_size, np.zeros(3))


def _move(found: gemmi.Structure, box: int, pixel_size: float, point: Array) -> None:
    edge = box * pixel_size
    found.cell = gemmi.UnitCell(edge, edge, edge, 90, 90, 90)
    found.spacegroup_hm = "P 1"
    shift = gemmi.Vec3(*((box // 2) * pixel_size - point).tolist())
    found[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), shift))


def atom_places(found: gemmi.Structure) -> Array:
    """Return the atoms' places x, y, z, Å, (atoms, 3)."""
    return np.array([site.atom.pos.tolist() for site in found[0].all()])


def extent(found: gemmi.Structure, box: int, pixel_size: float) -> float:
    """Return the largest distance of an atom from the middle of the box, Å."""
    return float(np.linalg.norm(atom_places(found) - (box // 2) * pixel_size, axis=1).max())


def scattering_map(found: gemmi.Structure, box: int, pixel_size: float, fine: int = 2) -> Array:
    """Return the electron-scattering map up to Nyquist, B factors as in the file, (z, y, x).

    The atoms are laid on a grid ``fine`` times finer, blurred as much as that grid needs, and the blur undone.
    """
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min, calculator.rate = 2 * pixel_size / fine, 1.0
    calculator.grid.setup_from(found)
    calculator.grid.set_size(box * fine, box * fine, box * fine)
    calculator.set_refmac_compatible_blur(found[0])
    calculator.d_min = 0.0  # else gemmi lays the atoms on a grid of its own size, with no factor but 2, 3 and 5
    calculator.put_model_density_on_grid(found[0])
    laid = np.asarray(calculator.grid.array, dtype=np.float64).transpose(2, 1, 0)
    spectrum = np.fft.fftshift(np.fft.fftn(laid))
    start = (box * fine - box) // 2
    kept = spectrum[(slice(start, start + box),) * 3] / fine**3
    frequency = frequencies(box, pixel_size)
    kept *= np.exp(calculator.blur * frequency**2 / 4) * (frequency < 0.5 / pixel_size)
    return np.fft.ifftn(np.fft.ifftshift(kept)).real


def frequencies(box: int, pixel_size: float) -> Array:
    """Return each Fourier point's spatial frequency, 1/Å, origin at ``box // 2``, (box, box, box)."""
    axis = (np.arange(box) - box // 2) / (box * pixel_size)
    radius: Array = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return radius


def low_pass(volume: npt.NDArray[np.floating], resolution: float, pixel_size: float) -> Array:
    """Remove what is finer than ``resolution`` (Å), with an edge of two shells half a cosine wide."""
    box = len(volume)
    shells_beyond = (frequencies(box, pixel_size) - 1 / resolution) * box * pixel_size
    gain = falling_edge(shells_beyond / 2 + 0.5)
    return np.fft.ifftn(np.fft.fftn(volume) * np.fft.ifftshift(gain)).real
