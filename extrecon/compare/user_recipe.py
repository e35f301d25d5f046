"""RELION's command as a user gives it: read, and refused where it cannot be compared."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from extrecon.compare.recipe import PROGRAM
from extrecon.compare.relion_words import EXTERNAL, grouped, replaced
from extrecon.errors import UsageError

_DEFAULT_LOCAL_ORDER, _DEFAULT_ORDER = 4, 2
_NEEDED: Mapping[str, str] = {
    "--auto_refine": "only an auto-refinement of half-sets can be compared",
    "--split_random_halves": "only an auto-refinement of half-sets can be compared",
    "--i": "it names the particles",
    "--ref": "it names the first reference",
}
_REFUSED: Mapping[str, str] = {
    "--continue": "give the command that the refinement was started with",
    "--blush": "RELION then makes no external reconstruction",
    "--multibody_masks": "several bodies have no one map that could be scored",
    "--helix": "a helix is none of the things that were tried",
}
# Ours, or about the user's own job.
_REPLACED = ("--o", "--random_seed", EXTERNAL, "--pipeline_control")
_NOT_REMEMBERED = (
    "--j",
    "--gpu",
    "--cpu",
    "--pool",
    "--no_parallel_disc_io",
    "--dont_combine_weights_via_disc",
    "--preread_images",
    "--scratch_dir",
    "--keep_free_scratch",
    "--keep_scratch",
    "--reuse_scratch",
    "--free_gpu_memory",
    "--onthefly_shifts",
    "--sequential_halves_recons",
    "--maxsig",
    "--verb",
    # of how it refines, in RELION 4 and 5
    "--auto_ignore_angles",
    "--auto_resol_angles",
    "--auto_iter_max",
    "--maximum_angular_sampling",
    "--min_sigma2_offset",
    "--lowpass_mask",
    "--lowpass",
    "--strict_highres_exp",
    "--trust_ref_size",
    "--failsafe_threshold",
    "--dont_skip_gridding",
    "--asymmetric_padding",
)
"""What RELION does not remember of a run that it goes on with: the machine's first."""
CONTINUED_TOO = ("--solvent_mask", "--solvent_correct_fsc")
"""Options of an arm that RELION 3.1.3 was seen to heed with ``--continue``."""
_SHELL = re.compile(r"[|;&<>]|\d*>{1,2}.*|`.*`|\$.*")
_WHICH = re.compile(r"`which\s+(\S+?)`|\$\(which\s+(\S+?)\)")
_SETS_VARIABLE = re.compile(r"[A-Za-z_]\w*=.*")


@dataclass(frozen=True)
class UserRecipe:
    """A command of the user's, without what a comparison decides.

    Attributes
    ----------
    start : what starts RELION, up to and with its program
    options : RELION's words
    """

    start: tuple[str, ...]
    options: tuple[str, ...]

    def value(self, option: str, default: str = "") -> str:
        """Return the word after an option; ``default`` where the command has none."""
        return next((values[0] for name, *values in grouped(self.options) if name == option and values), default)

    def number(self, option: str, default: float) -> float:
        """Return the number after an option.

        Raises
        ------
        UsageError : what follows it is no number.
        """
        text = self.value(option, f"{default}")
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"RELION's {option} must have a number, not '{text}'.") from None

    @property
    def local_order(self) -> int:
        """HEALPix order from which RELION searches locally."""
        return int(self.number("--auto_local_healpix_order", _DEFAULT_LOCAL_ORDER))

    @property
    def local_from_the_start(self) -> bool:
        """Whether the first iteration already needs starting angles."""
        return self.number("--healpix_order", _DEFAULT_ORDER) >= self.local_order

    @property
    def cores(self) -> int:
        """Ranks times threads, as far as the command tells; 1 rank if it does not."""
        words = list(self.start)
        for option in ("-n", "-np", "--n", "-c", "--ntasks"):
            if option in words[:-1] and words[words.index(option) + 1].isdigit():
                return int(words[words.index(option) + 1]) * int(self.number("--j", 1))
        return 1

    def words(self, output: str, seed: int, arm_words: Sequence[str] = ()) -> list[str]:
        """Return the command from the first iteration on.

        Parameters
        ----------
        output : how the names of RELION's files begin
        seed : of RELION's random numbers
        arm_words : options that replace the user's
        """
        own = ["--o", output, *replaced(self.options, arm_words), "--random_seed", str(seed)]
        return [*self.start, *own, EXTERNAL]

    def continued(self, optimiser: Path, output: str, arm_words: Sequence[str] = ()) -> list[str]:
        """Return the command that goes on from an iteration's optimiser file.

        RELION reads there what the run was started with; options of the search, given again, would set it back.
        """
        groups = [group for group in grouped(self.options) if group[0] in (*_NOT_REMEMBERED, *CONTINUED_TOO)]
        again = [word for group in groups for word in group]
        words = ["--continue", str(optimiser), "--o", output, *replaced(again, arm_words)]
        return [*self.start, *words, EXTERNAL]


def recipe_of_file(path: Path, start: Sequence[str]) -> UserRecipe:
    """Return the recipe in a file: a command on one line or several, or RELION's options alone.

    Lines that begin with ``#`` are comments, and a backslash may end a line.

    Parameters
    ----------
    start : what starts RELION where the file holds its options alone

    Raises
    ------
    UsageError : the file cannot be read, or `read_recipe` refuses what it holds.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--recipe {path}: cannot be read: {error}.") from error
    text = " ".join(line.strip().removesuffix("\\") for line in lines if not line.strip().startswith("#"))
    text = _WHICH.sub(lambda found: found[1] or found[2], text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--recipe {path}: cannot be split into words: {error}.") from error
    return read_recipe(words, start)


def read_recipe(words: Sequence[str], start: Sequence[str]) -> UserRecipe:
    """Return a command as a recipe.

    Raises
    ------
    UsageError : it starts no RELION, or it is none that can be compared.
    """
    if not words:
        raise UsageError("The command is empty: give the one that you refine with.")
    signs = [word for word in words if _SHELL.fullmatch(word)]
    if signs:
        raise UsageError(f"'{signs[0]}' is for a shell; give the command of RELION by itself, without it.")
    at = next((place for place, word in enumerate(words) if Path(word).name.startswith("relion_refine")), None)
    if words[0].startswith("--"):
        own, options = tuple(start), list(words)
    elif at is None:
        raise UsageError(f"'{shlex.join(words[:4])} …': no {PROGRAM} is in this command.")
    else:
        own, options = tuple(words[: at + 1]), list(words[at + 1 :])
    if Path(own[-1]).name == "relion_refine":
        raise UsageError(f"relion_refine cannot refine two half-sets by itself; start {PROGRAM} with mpirun -n 3.")
    if _SETS_VARIABLE.fullmatch(own[0]):
        own = ("env", *own)
    _check(options)
    kept = [word for group in grouped(replaced(options, ())) if group[0] not in _REPLACED for word in group]
    return UserRecipe(own, tuple(kept))


def _check(options: Sequence[str]) -> None:
    if not options or not options[0].startswith("--"):
        raise UsageError(f"RELION's options begin with --, but '{' '.join(options[:1])}' does not.")
    groups = {name: values for name, *values in grouped(options)}
    for option, why in _NEEDED.items():
        if option not in groups:
            raise UsageError(f"The command has no {option}: {why}.")
    for option in ("--i", "--ref"):
        if len(groups[option]) != 1:
            told = " ".join(groups[option])
            raise UsageError(f"{option} must be followed by one path without spaces, not '{told}'.")
    for option, why in _REFUSED.items():
        if option in groups:
            raise UsageError(f"{option} cannot be compared: {why}.")
    classes = groups.get("--K", ["1"])
    if classes != ["1"]:
        raise UsageError(f"--K {' '.join(classes)} cannot be compared: a refinement has one class.")
