"""One run, an arm with a seed: done once, scored, and known again later."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from extrecon import __version__
from extrecon.compare.arm_code import regularizers_of
from extrecon.compare.arms import RELIONS_OWN_PROGRAM, Arm
from extrecon.compare.dataset import DataSet
from extrecon.compare.hashes import file_sha256, fingerprint_of
from extrecon.compare.own_particles import OwnParticles
from extrecon.compare.recipe import Recipe
from extrecon.compare.refinement import refine, unknown_options
from extrecon.compare.relion_words import grouped, masks_of, with_own_maps
from extrecon.compare.scoring import remove_bulk
from extrecon.compare.start import COMMON_START, Start, why_from_the_beginning
from extrecon.compare.subject import Simulated, Subject
from extrecon.errors import InputError, UsageError
from extrecon.maps import read_map
from extrecon.options import CONFIG_FILE, DAEMON_VARIABLES, ENVIRONMENT_PREFIX
from extrecon.relion.first_mask import SOLVENT_MASK, mask_words, write_first_mask
from extrecon.relion.program import relion_version
from extrecon.system.files import replacing

# In a process of its own each call is paid for by its run, and runs side by side share nothing.
_ALONE = {"EXTRECON_DAEMON": "off"}
# What an arm and a seed decide; all else is the same in one comparison.
_OF_THE_ARM = ("arm_command", "relion_command", "recipe_command", "masks", "regularizers", "begins")


@dataclass(frozen=True)
class Run:
    """One refinement.

    Attributes
    ----------
    subject : the particles, and how all arms refine them
    arm, seed : what is this run's own
    folder : of the results
    provenance : all that decides the result, as `provenance` tells it
    start : the global search that it goes on from; None if it begins with the first reference
    """

    subject: Subject
    arm: Arm
    seed: int
    folder: Path
    provenance: dict[str, Any]
    start: Start | None = None

    @property
    def label(self) -> str:
        """Short form for people."""
        return f"{self.arm.name}, seed {self.seed}"

    @property
    def cores(self) -> int:
        """How many it keeps busy."""
        return self.subject.cores

    @property
    def fingerprint(self) -> str:
        """Hash of the provenance."""
        return fingerprint_of(self.provenance)

    @property
    def recipe_fingerprint(self) -> str:
        """Hash of what all arms and seeds of a comparison share."""
        return fingerprint_of(_apart_from_arm_and_seed(self.provenance))

    def words(self, output: str) -> list[str]:
        """Return RELION's command.

        Raises
        ------
        RefinementError : the start that it goes on from is not done.
        """
        own = (*self.arm.relion, *self.mask_words(output))
        if self.start is not None:
            words = self.start.continued(output, own)
        else:
            words = self.subject.words(output, self.seed, own)
        return with_own_maps(words, self.arm.command, self.provenance["relion"])

    def mask_words(self, output: str) -> tuple[str, ...]:
        """Return RELION's options for a mask that is drawn anew in each iteration; none if it is not."""
        return mask_words(output) if self.arm.draws_mask else ()

    def perform(self, stop: Event | None = None) -> dict[str, Any]:
        """Do it from scratch; as `perform` says."""
        return perform(self, stop)


def plan_runs(data: DataSet, arms: Sequence[Arm], seeds: Sequence[int], recipe: Recipe, output: Path) -> list[Run]:
    """Return all runs on simulated particles, seed by seed, so that an early end leaves whole comparisons.

    Raises
    ------
    UsageError : the recipe and the data do not go together, or RELION is not there.
    """
    if recipe.local_from_the_start and not data.has_angles:
        raise UsageError(
            f"{data.folder}: the particles have no starting angles, but HEALPix order {recipe.healpix_order} is "
            f"searched locally from the start (local order {recipe.local_order}). Simulate with --perturb, or "
            "give a lower --healpix-order."
        )
    return _plan(Simulated(data, recipe), arms, seeds, output, {})


def plan_own_runs(
    own: OwnParticles, arms: Sequence[Arm], seeds: Sequence[int], output: Path, *, common_start: bool = True
) -> list[Run]:
    """Return all runs on somebody's own particles, seed by seed.

    Parameters
    ----------
    common_start : do the global search once a seed, for all arms that do not change it

    Raises
    ------
    UsageError : seeds are double, or RELION is not there.
    """
    starts = {}
    if common_start and not own.recipe.local_from_the_start:
        version = require_relion(own)
        for seed in seeds:
            words = with_own_maps(own.words("run", seed), RELIONS_OWN_PROGRAM, version)
            told = {"relion_command": words, **own.told(), "relion": version}
            starts[seed] = Start(own, seed, output / f"start_{seed}", told)
    return _plan(own, arms, seeds, output, starts)


def _plan(
    subject: Subject, arms: Sequence[Arm], seeds: Sequence[int], output: Path, starts: Mapping[int, Start]
) -> list[Run]:
    if len(set(seeds)) < len(seeds) or not seeds:
        raise UsageError(f"Seeds must differ, and there must be one: {list(seeds)}.")
    version = require_relion(subject)
    runs = []
    for seed in seeds:
        for arm in arms:
            start = starts.get(seed)
            begins = why_from_the_beginning(arm, subject.folder) if start else ""
            told = provenance(subject, arm, seed, version)
            if start is not None:
                told["begins"] = f"the first reference: {begins}" if begins else COMMON_START
            folder = output / f"{arm.name}_{seed}"
            runs.append(Run(subject, arm, seed, folder, told, None if begins else start))
    return runs


def require_relion(subject: Subject) -> str:
    """Return RELION's version.

    Raises
    ------
    UsageError : a program that the recipe needs is not on the PATH.
    """
    absent = [program for program in subject.programs if shutil.which(program) is None]
    for program in absent:
        if "relion" in Path(program).name:
            raise UsageError(
                f"{program} is not on the PATH, and a comparison refines with the real RELION. Load RELION's "
                "module, or on Debian: apt-get install relion (3.1, 4 and 5 will do)."
            )
    if absent:
        raise UsageError(f"{absent[0]} is not on the PATH, and the command begins with it: is it mistyped?")
    # The MPI program asks for MPI before it tells its version.
    beside = Path(subject.programs[-1])
    told = relion_version(str(beside.with_name(beside.name.removesuffix("_mpi"))))
    return ".".join(map(str, told)) if told else "unknown"


def provenance(subject: Subject, arm: Arm, seed: int, version: str) -> dict[str, Any]:
    """Return all that decides a run's result: command, versions, particles, masks, and options from outside.

    A mask that the comparison makes is made from a plain run of the same recipe, which is told by all the rest.
    """
    config = subject.folder / CONFIG_FILE
    kept = {name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)}
    common = subject.words("run", seed)
    whole = with_own_maps(subject.words("run", seed, arm.relion), arm.command, version)
    masks = {str(path): file_sha256(path) for path in masks_of(common if arm.made_mask else whole, subject.folder)}
    own = {"recipe_command": common} if whole != common else {}
    return {
        "relion_command": whole,
        "arm_command": arm.command,
        **own,
        **({"masks": masks} if masks else {}),
        **({"regularizers": code} if (code := regularizers_of(arm, subject.folder)) else {}),
        **subject.told(),
        "relion": version,
        "extrecon": __version__,
        "variables": {name: os.environ[name] for name in sorted(kept - {*DAEMON_VARIABLES, *_ALONE})},
        CONFIG_FILE: config.read_text() if config.is_file() else None,
    }


def finished(run: Run) -> dict[str, Any] | None:
    """Return a run's kept score, None if it is yet to be done.

    Raises
    ------
    InputError : its score is damaged.
    UsageError : it was made in another way than this one.
    """
    path = run.folder / run.subject.kept_in
    if not path.is_file():
        return None
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
        before, fingerprint = dict(kept["provenance"]), kept["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error}); remove it to do the run again.") from error
    if fingerprint != run.fingerprint:
        told = "; ".join(
            f"{key} {_changed(before.get(key), value)}"
            for key, value in run.provenance.items()
            if key != "recipe_command" and before.get(key) != value  # that one changes with the whole command alone
        )
        raise UsageError(
            f"{run.folder}: holds a finished run that was made in another way ({told}). "
            "Give --redo to replace it, or another --output."
        )
    return kept


def finished_beside(runs: Sequence[Run], output: Path) -> list[dict[str, Any]]:
    """Return the kept scores in the folder of other arms or seeds, refined like these from the same particles."""
    asked = {run.folder for run in runs}
    wanted = _apart_from_arm_and_seed(runs[0].provenance)
    found = []
    for path in sorted(output.glob(f"*/{runs[0].subject.kept_in}")):
        if path.parent in asked:
            continue
        # One that is damaged is told when its arm is asked for.
        with suppress(ValueError, KeyError, TypeError, IndexError):
            kept: dict[str, Any] = json.loads(path.read_text())
            if _apart_from_arm_and_seed(kept["provenance"]) == wanted:
                found.append(kept)
    return found


def _apart_from_arm_and_seed(provenance: Mapping[str, Any]) -> dict[str, Any]:
    words = list(provenance.get("recipe_command", provenance["relion_command"]))
    del words[words.index("--random_seed") + 1]
    return {key: value for key, value in provenance.items() if key not in _OF_THE_ARM} | {"words": words}


def _changed(before: Any, now: Any) -> str:
    """Return what differs: of two commands only the options that do."""
    if isinstance(before, list) and isinstance(now, list):
        old, new = ([" ".join(group) for group in grouped(words)] for words in (before, now))
        before = " ".join(group for group in old if group not in new) or "without"
        now = " ".join(group for group in new if group not in old) or "without"
    return f"was {before}, is {now}"


def perform(run: Run, stop: Event | None = None) -> dict[str, Any]:
    """Do a run from scratch, score it, keep the score, the log and the final maps, and return the score.

    Raises
    ------
    RefinementError : RELION failed, or was stopped.
    InputError : its results cannot be scored.
    """
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True)
    words = run.words(str(run.folder / "run"))
    if run.arm.draws_mask:
        reference = read_map(run.subject.reference)
        path = Path(words[words.index(SOLVENT_MASK) + 1])
        write_first_mask(path, reference.box, reference.pixel_size_angstrom, run.subject.diameter_angstrom)
    cost = refine(words, run.arm.command, run.subject.folder, run.folder, stop=stop, variables=_ALONE)
    found = run.subject.score(run.folder)
    remove_bulk(run.folder)
    told = {
        "arm": run.arm.name,
        "seed": run.seed,
        **found,
        "wall_seconds": round(cost.wall_seconds, 1),
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "peak_memory_mb": round(cost.peak_memory_bytes / 1e6, 1),
        "calls_hook": run.arm.calls_hook,
        "plain": not run.arm.regularizes(run.subject.folder),
        "relion_options": [*run.arm.relion, *run.mask_words(str(run.folder / "run"))],
        "options_unknown_to_relion": _unknown_options(run),
        "fingerprint": run.fingerprint,
        "provenance": run.provenance,
    }
    if "begins" in run.provenance:
        told["begins"] = run.provenance["begins"]
    with replacing(run.folder / run.subject.kept_in) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n")
    return told


def _unknown_options(run: Run) -> list[str]:
    """Return the options that RELION did not know, be it in the start."""
    unknown = set(unknown_options(run.folder))
    if run.start is None:
        return sorted(unknown)
    # What RELION remembers it may not know when it goes on, as 3.1 --external_reconstruct; later ones must be told.
    earlier = (run.start.kept() or {}).get("options_unknown_to_relion", [])
    return sorted(unknown.intersection(run.arm.relion).union(earlier))
