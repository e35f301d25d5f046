"""What must not be trained on: the sequences of the structures that serve for evaluation and validation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from training.particles import Particle, from_structure
from training.pdb_entries import within_reach
from training.similarity import SHORTEST_CHAIN, Aligner, cleaned, sequences
from training.sources import EVALUATION, MEMBERS, RELATIVES, VALIDATION, Packages
from training.structure_database import StructureDatabase


def protected_sequences(packages: Packages, database: StructureDatabase) -> set[str]:
    """Return the sequences of all evaluation and validation structures that the packages hold."""
    found: set[str] = set()
    for entry in (*EVALUATION, *RELATIVES, *VALIDATION):
        if entry in database.entries:
            found |= {cleaned(chain.sequence) for chain in database.chains(entry)}
        if entry in MEMBERS or entry in VALIDATION:
            found |= sequences(packages.structure(entry))
    return {sequence for sequence in found if len(sequence) >= SHORTEST_CHAIN}


def unlike(entries: Iterable[str], folder: Path, kept_away: set[str]) -> Iterator[tuple[str, Particle | None]]:
    """Yield the PDB entries within reach; None for those that are like what is kept away."""
    aligner = Aligner()
    for entry, found in within_reach(entries, folder):
        is_like = any(aligner.is_like_any(sequence, kept_away) for sequence in sequences(found))
        yield entry, None if is_like else from_structure(found)
