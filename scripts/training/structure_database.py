"""Read ProMod3's structure database: 21 119 chains of the PDB as backbones with their sequences.

The file (``structure_db.dat`` of Debian's promod3-data) holds a table of contents and then arrays over all residues
of all chains, each after a count of 8 bytes. Two of them are read here: the sequence, one letter a residue, and the
places of N, CA, C and O, twelve unsigned 16-bit integers a residue in units of 0.01 Å, from which a shift of the
chain is taken. The layout was found by inspection; the checks below refuse a file that differs.
"""

from __future__ import annotations

import struct
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_COUNT_AT = 0x4D
_MAGIC = struct.pack("<II", 1234, 2)
_LONGEST_TABLE = 4_000_000
_ATOMS = 4


@dataclass(frozen=True)
class Backbone:
    """One chain.

    Attributes
    ----------
    entry : PDB id
    chain : chain name
    sequence : one-letter codes
    places : (residues, 4, 3) N, CA, C, O; x, y, z in Å, in the PDB entry's frame
    """

    entry: str
    chain: str
    sequence: str
    places: npt.NDArray[np.float64]


class StructureDatabase:
    """The database, mapped from its file; a chain is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._bytes = np.memmap(path, np.uint8, "r")
        head = bytes(self._bytes[:_LONGEST_TABLE])
        if head[:8] != _MAGIC:
            sys.exit(f"{path} does not begin like ProMod3's structure database of version 2.")
        self.entries: dict[str, list[tuple[str, int, int, tuple[float, float, float]]]] = defaultdict(list)
        self._sequence_at = self._read_table(head)
        (self.residues,) = struct.unpack_from("<Q", head, self._sequence_at - 8)
        last = max(start + size for chains in self.entries.values() for _, start, size, _ in chains)
        if last != self.residues:
            sys.exit(f"{path}: the chains end at residue {last}, but the sequence holds {self.residues}.")
        self._places_at = self._sequence_at + self.residues + 8

    def _read_table(self, head: bytes) -> int:
        (count,) = struct.unpack_from("<Q", head, _COUNT_AT)
        at = _COUNT_AT + 8
        for _ in range(count):
            entry, at = _text(head, at)
            chain, at = _text(head, at)
            start, size, _, x, y, z = struct.unpack_from("<IHH3f", head, at)
            at += 20
            self.entries[entry].append((chain, start, size, (x, y, z)))
        return at + 8

    def chains(self, entry: str) -> list[Backbone]:
        """Return the chains of a PDB entry."""
        return [self._chain(entry, *where) for where in self.entries[entry]]

    def _chain(self, entry: str, chain: str, start: int, size: int, shift: tuple[float, float, float]) -> Backbone:
        letters = self._bytes[self._sequence_at + start : self._sequence_at + start + size]
        width = _ATOMS * 3 * 2
        at = self._places_at + start * width
        units = np.frombuffer(self._bytes[at : at + size * width].tobytes(), "<u2").reshape(size, _ATOMS, 3)
        return Backbone(entry, chain, letters.tobytes().decode(), units / 100.0 - np.array(shift))


def _text(head: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", head, at)
    at += 4
    return head[at : at + length].decode(), at + length
