"""One run, an arm with a seed: done once, scored, and known again later."""

from __future__ import annotations

import hashlib
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
from extrecon.compare.arms import Arm
from extrecon.compare.dataset import DataSet
from extrecon.compare.recipe import PROGRAM, Recipe
from extrecon.compare.refinement import refine, unknown_options
from extrecon.compare.relion_words import masks_of, replaced
from extrecon.compare.scoring import remove_bulk, score_refinement
from extrecon.errors import InputError, UsageError
from extrecon.maps import read_map
from extrecon.options import CONFIG_FILE, DAEMON_VARIABLES, ENVIRONMENT_PREFIX
from extrecon.relion.first_mask import SOLVENT_MASK, mask_words, write_first_mask
from extrecon.relion.program import relion_version
from extrecon.system.files import replacing

SCORE = "score.json"
# In a process of its own each call is paid for by its run, and runs side by side share nothing.
_ALONE = {"EXTRECON_DAEMON": "off"}


@dataclass(frozen=True)
class Run:
    """One refinement.

    Attributes
    ----------
    data : the particles
    arm, recipe, seed : how they are refined
    folder : of the results
    provenance : all that decides the result, as `provenance` tells it
    """

    data: DataSet
    arm: Arm
    recipe: Recipe
    seed: int
    folder: Path
    provenance: dict[str, Any]

    @property
    def label(self) -> str:
        """Short form for people."""
        return f"{self.arm.name}, seed {self.seed}"

    @property
    def fingerprint(self) -> str:
        """Hash of the provenance."""
        return _hash(self.provenance)

    @property
    def recipe_fingerprint(self) -> str:
        """Hash of what all arms and seeds of a comparison share."""
        return _hash(_apart_from_arm_and_seed(self.provenance))

    def words(self, output: str) -> list[str]:
        """Return RELION's command."""
        mask = mask_words(output) if self.arm.draws_mask else ()
        return _words(self.data, self.recipe, output, self.seed, (*self.arm.relion, *mask))


def plan_runs(data: DataSet, arms: Sequence[Arm], seeds: Sequence[int], recipe: Recipe, output: Path) -> list[Run]:
    """Return all runs, seed by seed, so that an early end leaves whole comparisons.

    Raises
    ------
    UsageError : the recipe and the data do not go together, or RELION is not there.
    """
    if len(set(seeds)) < len(seeds) or not seeds:
        raise UsageError(f"Seeds must differ, and there must be one: {list(seeds)}.")
    if recipe.local_from_the_start and not data.has_angles:
        raise UsageError(
            f"{data.folder}: the particles have no starting angles, but HEALPix order {recipe.healpix_order} is "
            f"searched locally from the start (local order {recipe.local_order}). Simulate with --perturb, or "
            "give a lower --healpix-order."
        )
    version = require_relion(recipe)
    return [
        Run(data, arm, recipe, seed, output / f"{arm.name}_{seed}", provenance(data, arm, recipe, seed, version))
        for seed in seeds
        for arm in arms
    ]


def require_relion(recipe: Recipe) -> str:
    """Return RELION's version.

    Raises
    ------
    UsageError : a program that the recipe needs is not on the PATH.
    """
    launcher = recipe.launcher.split()[:1]
    for program in (*launcher, PROGRAM):
        if shutil.which(program) is None:
            raise UsageError(
                f"{program} is not on the PATH, and a comparison refines with the real RELION. Load RELION's "
                "module, or on Debian: apt-get install relion (3.1, 4 and 5 will do)."
            )
    # The MPI program asks for MPI before it tells its version.
    told = relion_version("relion_refine")
    return ".".join(map(str, told)) if told else "unknown"


def provenance(data: DataSet, arm: Arm, recipe: Recipe, seed: int, version: str) -> dict[str, Any]:
    """Return all that decides a run's result: command, versions, particles, masks, and options from outside.

    A mask that the comparison makes is made from a plain run of the same recipe, which is told by all the rest.
    """
    config = data.folder / CONFIG_FILE
    kept = {name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)}
    given = masks_of(recipe.more) if arm.made_mask else masks_of(replaced(recipe.more, arm.relion))
    masks = {str(path): _sha256(path) for path in given}
    own = {"recipe_command": _words(data, recipe, "run", seed)} if arm.relion else {}
    return {
        "relion_command": _words(data, recipe, "run", seed, arm.relion),
        "arm_command": arm.command,
        **own,
        **({"masks": masks} if masks else {}),
        **({"regularizers": code} if (code := regularizers_of(arm, data.folder)) else {}),
        "data_sha256": data.sha256,
        "relion": version,
        "extrecon": __version__,
        "variables": {name: os.environ[name] for name in sorted(kept - {*DAEMON_VARIABLES, *_ALONE})},
        CONFIG_FILE: config.read_text() if config.is_file() else None,
    }


def _hash(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _words(data: DataSet, recipe: Recipe, output: str, seed: int, arm_words: Sequence[str] = ()) -> list[str]:
    return recipe.words(output, data.diameter_angstrom, data.symmetry, seed, ctf=data.has_ctf, arm_words=arm_words)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finished(run: Run) -> dict[str, Any] | None:
    """Return a run's kept score, None if it is yet to be done.

    Raises
    ------
    InputError : its score is damaged.
    UsageError : it was made in another way than this one.
    """
    path = run.folder / SCORE
    if not path.is_file():
        return None
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
        before, fingerprint = dict(kept["provenance"]), kept["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error}); remove it to do the run again.") from error
    if fingerprint != run.fingerprint:
        changed = [key for key, value in run.provenance.items() if before.get(key) != value]
        told = "; ".join(
            f"{key} was {_short(before.get(key))}, is {_short(run.provenance[key])}" for key in changed
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
    for path in sorted(output.glob(f"*/{SCORE}")):
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
    of_the_arm = ("arm_command", "relion_command", "recipe_command", "masks", "regularizers")
    return {key: value for key, value in provenance.items() if key not in of_the_arm} | {"words": words}


def _short(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


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
        reference = read_map(run.data.folder / "reference.mrc")
        path = Path(words[words.index(SOLVENT_MASK) + 1])
        write_first_mask(path, reference.box, reference.pixel_size_angstrom, run.data.diameter_angstrom)
    cost = refine(words, run.arm.command, run.data.folder, run.folder, stop=stop, variables=_ALONE)
    found = score_refinement(run.folder, run.data)
    remove_bulk(run.folder)
    told = {
        "arm": run.arm.name,
        "seed": run.seed,
        **found,
        "wall_seconds": round(cost.wall_seconds, 1),
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "peak_memory_mb": round(cost.peak_memory_bytes / 1e6, 1),
        "calls_hook": run.arm.calls_hook,
        "plain": run.arm.is_plain,
        "relion_options": list(run.arm.relion),
        "options_unknown_to_relion": unknown_options(run.folder),
        "fingerprint": run.fingerprint,
        "provenance": run.provenance,
    }
    with replacing(run.folder / SCORE) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n")
    return told
