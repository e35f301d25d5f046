"""How every arm is refined: one recipe, from the same start."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from extrecon.compare.relion_words import EXTERNAL, replaced

PROGRAM = "relion_refine_mpi"


@dataclass(frozen=True)
class Recipe:
    """RELION's auto-refinement of half-sets; the defaults search locally from the first iteration on.

    The translation grid is fine on purpose: with a coarse one (range 3, step 2) RELION stops at a grid of 1 px
    that it shifts at random in every iteration, and the final FSC then depends on the seed.

    Attributes
    ----------
    healpix_order : order of the first iteration's orientation grid
    local_order : order from which RELION searches locally, and regularizers work
    ini_high_angstrom : low-pass of the first reference
    offset_range_px, offset_step_px : translation grid of the first iteration
    padding : of the references in Fourier space
    mpi_ranks : at least 3, one to lead and one for each half-set; an odd number
    threads : of each rank
    launcher : what starts MPI programs, without the number of ranks
    more : further options for RELION, which replace the recipe's own
    """

    healpix_order: int = 4
    local_order: int = 4
    ini_high_angstrom: float = 20.0
    offset_range_px: float = 2.0
    offset_step_px: float = 1.0
    padding: int = 1
    mpi_ranks: int = 3
    threads: int = 1
    launcher: str = "mpirun --oversubscribe"
    more: tuple[str, ...] = ()

    @property
    def local_from_the_start(self) -> bool:
        """Whether the first iteration already needs starting angles."""
        return self.healpix_order >= self.local_order

    def words(
        self,
        output: str,
        diameter_angstrom: float,
        symmetry: str,
        seed: int,
        *,
        ctf: bool,
        arm_words: Sequence[str] = (),
    ) -> list[str]:
        """Return the command, to be run where ``particles.star`` and ``reference.mrc`` are.

        Parameters
        ----------
        output : how the names of RELION's files begin
        seed : of RELION's random numbers, which also split the particles into halves
        ctf : whether the images show a CTF; the reference never does
        arm_words : an arm's own options, which replace those of all arms
        """
        words = ["--o", output, "--auto_refine", "--split_random_halves", "--i", "particles.star"]
        words += ["--ref", "reference.mrc"]
        words += ["--ini_high", f"{self.ini_high_angstrom:g}", "--pool", "30", "--pad", str(self.padding)]
        words += ["--particle_diameter", f"{diameter_angstrom:g}"]
        words += ["--flatten_solvent", "--zero_mask", "--oversampling", "1"]
        words += ["--healpix_order", str(self.healpix_order), "--auto_local_healpix_order", str(self.local_order)]
        words += ["--offset_range", f"{self.offset_range_px:g}", "--offset_step", f"{self.offset_step_px:g}"]
        words += ["--sym", symmetry, "--low_resol_join_halves", "40", "--norm", "--scale"]
        words += ["--j", str(self.threads), "--random_seed", str(seed), "--dont_combine_weights_via_disc"]
        words += ["--ctf", "--ctf_corrected_ref"] if ctf else []
        start = [*shlex.split(self.launcher), "-n", str(self.mpi_ranks), PROGRAM]
        return [*start, *replaced(words, [*self.more, *arm_words]), EXTERNAL]
