"""What the arms of a comparison refine, and how: simulated particles by our recipe, or anybody's by their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from extrecon.compare.dataset import DataSet
from extrecon.compare.recipe import PROGRAM, Recipe
from extrecon.compare.scoring import Scores, score_refinement

SCORE, REFINED = "score.json", "refined.json"


class Subject(Protocol):
    """The same for all arms and seeds."""

    @property
    def kept_in(self) -> str:
        """The file of a run's folder that tells that its refinement is done."""

    @property
    def folder(self) -> Path:
        """RELION's working directory."""

    @property
    def reference(self) -> Path:
        """The first reference, which lies on the grid of all maps."""

    @property
    def diameter_angstrom(self) -> float | None:
        """The particle's diameter, Å; None if RELION is not told any."""

    @property
    def truth(self) -> Path | None:
        """The true map, if it is known."""

    @property
    def cores(self) -> int:
        """How many a refinement keeps busy."""

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that must be there."""

    def words(self, output: str, seed: int, arm_words: Sequence[str] = ()) -> list[str]:
        """Return RELION's command from the first iteration on.

        Parameters
        ----------
        output : how the names of RELION's files begin
        arm_words : an arm's own options, which replace those of all arms
        """

    def told(self) -> dict[str, Any]:
        """Return what decides a run beside its command: hashes of files."""

    def score(self, job: Path) -> Scores:
        """Return what is known of a finished refinement at once."""


@dataclass(frozen=True)
class Simulated:
    """Particles that `extrecon simulate` made, refined by our recipe."""

    data: DataSet
    recipe: Recipe
    kept_in: str = SCORE

    @property
    def folder(self) -> Path:
        """RELION's working directory."""
        return self.data.folder

    @property
    def reference(self) -> Path:
        """The true map, low-passed."""
        return self.data.folder / "reference.mrc"

    @property
    def diameter_angstrom(self) -> float | None:
        """The particle's diameter, Å."""
        return self.data.diameter_angstrom

    @property
    def truth(self) -> Path | None:
        """The true map."""
        return self.data.folder / "truth.mrc"

    @property
    def cores(self) -> int:
        """How many a refinement keeps busy."""
        return self.recipe.mpi_ranks * self.recipe.threads

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that must be there."""
        return (*self.recipe.launcher.split()[:1], PROGRAM)

    def words(self, output: str, seed: int, arm_words: Sequence[str] = ()) -> list[str]:
        """Return RELION's command."""
        data = self.data
        return self.recipe.words(
            output, data.diameter_angstrom, data.symmetry, seed, ctf=data.has_ctf, arm_words=arm_words
        )

    def told(self) -> dict[str, Any]:
        """Return the hash of the data."""
        return {"data_sha256": self.data.sha256}

    def score(self, job: Path) -> Scores:
        """Return all scores, against the truth."""
        return score_refinement(job, self.data)
