"""PDB entries that no package holds: a list of ids, read out of a folder or fetched into it.

They are complexes of docking benchmarks (Vreven et al. 2015; van Dijk and Bonvin 2008), the membrane proteins
of the benchmark of implicit membranes (Alford et al. 2021) and of the docking of membrane proteins (Koukos et al.
2018), pairs of chains of Gainza et al. (2020), and some RNA.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import gemmi

from extrecon.atoms.scattering import read_structure
from extrecon.errors import InputError

_LIST = Path(__file__).with_name("pdb_entries.txt")
_PDB = "https://files.rcsb.org/download/{}.cif"


def listed() -> list[str]:
    """Return the ids."""
    return _LIST.read_text().split()


def fetched(entry: str, folder: Path) -> gemmi.Structure:
    """Return a PDB entry without its waters and hydrogens, out of ``folder``, or fetched into it."""
    found = read_structure(_file(entry, folder))
    found.remove_hydrogens()
    return found


def within_reach(entries: Iterable[str], folder: Path) -> Iterator[tuple[str, gemmi.Structure]]:
    """Yield the entries that can be read from ``folder`` or fetched into it, and tell of the others."""
    for entry in entries:
        try:
            found = fetched(entry, folder)
        except (OSError, InputError) as error:
            print(f"{entry} is left out, neither read from {folder} nor fetched into it: {error}", flush=True)
        else:
            yield entry, found


def _file(entry: str, folder: Path) -> Path:
    for suffix in ("pdb", "cif"):
        if (folder / f"{entry}.{suffix}").exists():
            return folder / f"{entry}.{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{entry}.cif"
    with urllib.request.urlopen(_PDB.format(entry), timeout=60) as answer:
        path.write_bytes(answer.read())
    return path
