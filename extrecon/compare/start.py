"""The global search that all arms of a seed have in common, done once with RELION's own program.

An arm that regularizes in local search alone gets plain maps up to and in the first iteration of it, because RELION
tells an iteration's search only after its call: what RELION has written then is where all these arms go on from.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from extrecon.compare.arms import RELIONS_OWN_PROGRAM, Arm
from extrecon.compare.hashes import fingerprint_of
from extrecon.compare.own_particles import OwnParticles
from extrecon.compare.refinement import refine, unknown_options
from extrecon.compare.relion_words import grouped, with_own_maps
from extrecon.compare.user_recipe import CONTINUED_TOO
from extrecon.errors import ExtreconError, RefinementError
from extrecon.maps.mrc import read_map
from extrecon.relion.history import RefinementFolder
from extrecon.relion.names import DATA, MODEL, OPTIMISER, SAMPLING, iteration_of
from extrecon.relion.star import read_star
from extrecon.system.files import replacing

RECORD = "start.json"
COMMON_START = "the common start"
_ROOT = "run"
_MAPS = tuple(f"_half{half}_class001.mrc" for half in (1, 2))
_STARS = (SAMPLING, OPTIMISER, *(f"_half{half}{MODEL}" for half in (1, 2)))
_SETTLED_SECONDS = 1.0


def why_from_the_beginning(arm: Arm, working_directory: Path) -> str:
    """Return why an arm cannot go on from the common start; "" if it can.

    Parameters
    ----------
    working_directory : RELION's, where a configuration file may hold the hook's options
    """
    unheeded = [group[0] for group in grouped(arm.relion) if group[0] not in CONTINUED_TOO]
    if unheeded:
        return f"{unheeded[0]} may mean something else to a refinement that goes on"
    if arm.calls_hook:
        return _why_hook_is_at_work_before(arm, working_directory)
    return "" if arm.is_plain else "its program may change the global search"


def _why_hook_is_at_work_before(arm: Arm, working_directory: Path) -> str:
    try:
        asked = arm.asks_hook_for(working_directory)
    except ExtreconError:  # the hook itself will say
        return "its options cannot be read"
    if asked.apply == "always":
        return "--apply always regularizes the global search too"
    if asked.phases.in_global_search:
        return f"{asked.phases.in_global_search} regularizes the global search"
    return ""


@dataclass(frozen=True)
class Start:
    """The global search of one seed.

    Attributes
    ----------
    own : the particles and their recipe
    folder : of its files
    provenance : all that decides it
    """

    own: OwnParticles
    seed: int
    folder: Path
    provenance: dict[str, Any]

    @property
    def label(self) -> str:
        """Short form for people."""
        return f"common start, seed {self.seed}"

    @property
    def cores(self) -> int:
        """How many it keeps busy."""
        return self.own.cores

    @property
    def fingerprint(self) -> str:
        """Hash of the provenance."""
        return fingerprint_of(self.provenance)

    def kept(self) -> dict[str, Any] | None:
        """Return what was recorded of it; None if it is not done, or was done in another way."""
        try:
            told: dict[str, Any] = json.loads((self.folder / RECORD).read_text())
            is_whole = told["fingerprint"] == self.fingerprint and _is_whole(self.folder, int(told["iteration"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return told if is_whole else None

    def continued(self, output: str, arm_words: tuple[str, ...]) -> list[str]:
        """Return the command that goes on from here.

        Raises
        ------
        RefinementError : the start is not done.
        """
        kept = self.kept()
        if kept is None:
            raise RefinementError(f"{self.folder}: the common start is not done.")
        optimiser = self.folder / f"{_ROOT}_it{int(kept['iteration']):03d}{OPTIMISER}"
        return self.own.recipe.continued(optimiser, output, arm_words)

    def perform(self, stop: Event | None = None) -> dict[str, Any]:
        """Search globally until the first iteration whose search is local, and keep what it left.

        Raises
        ------
        RefinementError : RELION failed, was stopped, or ended before it searched locally.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        found: list[int] = []
        history = RefinementFolder(self.folder, _ROOT)

        def is_local() -> bool:
            found[:] = [number for number in _local(history) if _is_whole(self.folder, number)][:1]
            return bool(found)

        words = self.own.words(str(self.folder / _ROOT), self.seed)
        words = with_own_maps(words, RELIONS_OWN_PROGRAM, self.provenance["relion"])
        cost = refine(words, RELIONS_OWN_PROGRAM, self.own.folder, self.folder, stop=stop, until=is_local)
        if not found:
            raise RefinementError(
                f"{self.folder}: RELION ended before it searched locally, so that no arm would differ from plain; "
                "see --healpix_order and --auto_local_healpix_order, or give --no-common-start."
            )
        _remove_what_is_not_needed(self.folder, found[0])
        told = {
            "iteration": found[0],
            "seed": self.seed,
            "wall_seconds": round(cost.wall_seconds, 1),
            "cpu_seconds": round(cost.cpu_seconds, 1),
            "options_unknown_to_relion": unknown_options(self.folder),
            "fingerprint": self.fingerprint,
            "provenance": self.provenance,
        }
        with replacing(self.folder / RECORD) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n")
        return told


def _local(history: RefinementFolder) -> list[int]:
    """Return the iterations whose search was local."""
    return [
        each.number
        for each in history.iterations()
        if each.healpix_order is not None
        and each.local_healpix_order is not None
        and each.healpix_order >= each.local_healpix_order
    ]


def _is_whole(folder: Path, iteration: int) -> bool:
    """Tell whether all that RELION goes on from is there, whole, and no longer being written."""
    stem = f"{_ROOT}_it{iteration:03d}"
    paths = [folder / (stem + ending) for ending in (*_STARS, DATA, *_MAPS)]
    try:
        age = time.time() - max(path.stat().st_mtime for path in paths)
        if 0 <= age < _SETTLED_SECONDS:  # a clock of another host may be ahead
            return False
        for ending in _STARS:
            read_star(folder / (stem + ending), first_block_only=True)
        for ending in _MAPS:
            read_map(folder / (stem + ending))
        return _ends_in_a_line(folder / (stem + DATA))
    except (OSError, ExtreconError):
        return False


def _ends_in_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _remove_what_is_not_needed(folder: Path, iteration: int) -> None:
    """Remove what RELION began of later iterations, and all maps and particles but those it goes on from."""
    needed = [f"{_ROOT}_it{iteration:03d}{ending}" for ending in (*_MAPS, DATA)]
    for path in folder.iterdir():
        number = iteration_of(path.name)
        is_needed = not path.name.endswith((".mrc", DATA)) or path.name in needed
        if number is not None and (number > iteration or not is_needed):
            path.unlink()
