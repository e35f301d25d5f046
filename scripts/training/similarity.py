"""Which sequences are alike, so that nothing like an evaluation or validation structure is trained on."""

from __future__ import annotations

from collections.abc import Iterable

import gemmi
from Bio.Align import PairwiseAligner, substitution_matrices

SIMILAR_SCORE = 100.0
"""Local BLOSUM62 score (gaps 11 + 1 a residue) from which two chains count as alike: some 43 bits."""

SHORTEST_CHAIN = 25
_LETTERS = set("ACDEFGHIKLMNPQRSTVWY")


class Aligner:
    """Smith-Waterman with affine gaps."""

    def __init__(self) -> None:
        self._aligner = PairwiseAligner(mode="local")
        self._aligner.substitution_matrix = substitution_matrices.load("BLOSUM62")
        self._aligner.open_gap_score = -12.0
        self._aligner.extend_gap_score = -1.0

    def score(self, first: str, second: str) -> float:
        """Return the score of the best local alignment."""
        return float(self._aligner.score(first, second))

    def is_like_any(self, sequence: str, others: Iterable[str]) -> bool:
        """Tell whether ``sequence`` is alike to one of ``others``."""
        return any(self.score(sequence, other) >= SIMILAR_SCORE for other in others)


def sequences(found: gemmi.Structure) -> set[str]:
    """Return the protein sequences of a structure's first model, as far as residues are modelled."""
    chains = (gemmi.one_letter_code(chain.get_polymer().extract_sequence()) for chain in found[0])
    return {cleaned(chain) for chain in chains if len(cleaned(chain)) >= SHORTEST_CHAIN}


def cleaned(sequence: str) -> str:
    """Return the sequence without what is not one of the twenty amino acids."""
    return "".join(letter for letter in sequence.upper() if letter in _LETTERS)
