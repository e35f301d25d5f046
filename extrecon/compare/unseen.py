"""The particles that no arm refines, as the judge of a comparison's runs.

Their likelihoods are counted from those with an empty map, which fits all poses alike, so that RELION would go
through all of the finest grid: it is given a coarse one instead. RELION sums the likelihood over the grid's
orientations as they are, so that a finer grid adds the logarithm of how many times more it has (RELION 3.1.3: log 8
for an order more, to 3e-5).
"""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from extrecon.compare.hashes import file_sha256, fingerprint_of
from extrecon.compare.held_out import (
    REFERENCE,
    Alignment,
    HeldOutSearch,
    align_held_out,
    align_with_empty,
    judge_held_out,
)
from extrecon.compare.own_particles import OwnParticles
from extrecon.compare.refinement import LOG, Cost
from extrecon.compare.relion_words import grouped
from extrecon.compare.scoring import Scores
from extrecon.errors import ExtreconError, InputError
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.maps.mrc import read_map
from extrecon.system.files import replacing

EMPTY, RECORD = "held_out_empty", "empty.json"
ALIGNED = "held_out"
_COARSE_ORDER = 1
_RELIONS_RANGE_PX = 6.0
_ORIENTATIONS = re.compile(r"NrOrientations=\s*(\d+)")
_MOST_OF_THE_BOX = 0.9  # the circle, where the command tells no diameter
_OF_THE_IMAGES = (
    "--ctf_phase_flipped",
    "--ctf_intact_first_peak",
    "--only_flip_phases",
    "--gpu",
    "--scratch_dir",
    "--pool",
    "--trust_ref_size",
)
"""What of a user's command says how images are to be read, or on what."""


@dataclass(frozen=True)
class Unseen:
    """What aligns particles that were held out to each map, in the same way.

    Attributes
    ----------
    own : the particles
    particles : those held out
    output : the comparison's folder
    finest_angstrom : what is finer counts for no map
    """

    own: OwnParticles
    particles: Path
    output: Path
    finest_angstrom: float

    @property
    def search(self) -> HeldOutSearch:
        """How RELION looks for poses: among all of them, with the user's shifts and CTF."""
        recipe = self.own.recipe
        diameter = self.own.diameter_angstrom
        if diameter is None:
            reference = read_map(self.own.reference)
            diameter = _MOST_OF_THE_BOX * reference.box * reference.pixel_size_angstrom
        groups = list(grouped(recipe.options))
        return HeldOutSearch(
            diameter_angstrom=diameter,
            finest_angstrom=self.finest_angstrom,
            symmetry=self.own.symmetry,
            ctf=any(group[0] == "--ctf" for group in groups),
            offset_range_px=recipe.number("--offset_range", _RELIONS_RANGE_PX),
            padding=int(recipe.number("--pad", 2)),
            threads=self.own.cores,
            more=tuple(word for group in groups if group[0] in _OF_THE_IMAGES for word in group),
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides what an empty map is given."""
        return fingerprint_of({"search": asdict(self.search), "particles": file_sha256(self.particles)})

    @property
    def folder(self) -> Path:
        """Of the alignment with an empty map."""
        return self.output / EMPTY

    @property
    def label(self) -> str:
        """Short form for people."""
        return "held-out particles with an empty map"

    @property
    def cores(self) -> int:
        """How many it keeps busy."""
        return self.own.cores

    def kept(self) -> Alignment | None:
        """Return the alignment with an empty map; None if it is not done, or was done in another way."""
        try:
            told: dict[str, Any] = json.loads((self.folder / RECORD).read_text())
            if told["fingerprint"] != self.fingerprint:
                return None
            paths = (self.folder / name for name in (REFERENCE, "run_it001_data.star", "run_it000_model.star"))
            reference, poses, model = paths
            nats = np.array(told["log_likelihoods"], np.float64)
            return Alignment(reference, self.particles, poses, model, nats, Cost(told["wall_seconds"], 0.0, 0))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def perform(self, stop: Event | None = None) -> dict[str, Any]:
        """Have RELION tell the likelihoods with an empty map, from where all others are counted."""
        shutil.rmtree(self.folder, ignore_errors=True)
        found = align_with_empty(
            self.own.reference,
            self.particles,
            self.folder,
            replace(self.search, healpix_order=_COARSE_ORDER),
            working_directory=self.own.folder,
            stop=stop,
        )
        told = {
            "fingerprint": self.fingerprint,
            "log_likelihoods": found.log_likelihoods.tolist(),
            "wall_seconds": round(found.cost.wall_seconds, 1),
            "cpu_seconds": round(found.cost.cpu_seconds, 1),
        }
        with replacing(self.folder / RECORD) as temporary:
            temporary.write_text(json.dumps(told) + "\n")
        return told

    def scores(self, final: Path, mask: Path, folder: Path, stop: Event | None = None) -> Scores:
        """Return what these particles say of a final map, inside the mask of all scores.

        Parameters
        ----------
        folder : for RELION's files

        Raises
        ------
        InputError : the alignment with an empty map is not done.
        RefinementError : RELION failed, or was stopped.
        """
        empty = self.kept()
        if empty is None:
            raise InputError(f"{self.folder}: the particles that were held out have met no empty map.")
        whole = read_map(final)
        inside = read_mask(mask, MaskGrid("the final map", whole.box, whole.pixel_size_angstrom)).density
        shutil.rmtree(folder, ignore_errors=True)
        search = self.search
        found = align_held_out(
            final, self.particles, folder, search, working_directory=self.own.folder, mask=inside, stop=stop
        )
        told: Scores = {"held_out_wall_seconds": round(found.cost.wall_seconds, 1)}
        finer = math.log(_orientations(folder) / _orientations(self.folder))
        empty = replace(empty, log_likelihoods=empty.log_likelihoods + finer)
        try:
            told |= judge_held_out(found, empty, search).told()
        except ExtreconError as error:  # RELION can read images that extrecon cannot
            nats = found.log_likelihoods - empty.log_likelihoods
            told |= {"held_out_nats": float(nats.mean()), "held_out_nats_each": [round(float(n), 4) for n in nats]}
            told["held_out_problem"] = str(error)
        _remove_maps(folder)
        return told


def _orientations(folder: Path) -> int:
    """Return how many orientations RELION's finest grid had, as its log tells.

    Raises
    ------
    InputError : it does not tell.
    """
    found = _ORIENTATIONS.findall((folder / LOG).read_text(errors="replace"))
    if not found:
        raise InputError(f"{folder / LOG}: RELION does not tell how many orientations it tried.")
    return int(found[-1])


def _remove_maps(folder: Path) -> None:
    for path in folder.glob("*.mrc"):
        path.unlink()
