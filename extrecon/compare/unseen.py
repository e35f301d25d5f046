"""The particles that no arm refines, as the judge of a comparison's runs.

To search all orientations for each map, with all Fourier points that count, would take longer than the refinements.
So the poses are found once, coarsely and globally, with the map of one plain run; each map, and an empty one from
which likelihoods are counted, then has them searched locally, about the same poses on the same grid.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.compare.hashes import file_sha256, fingerprint_of
from extrecon.compare.held_out import (
    MODEL,
    POSES,
    REFERENCE,
    Alignment,
    HeldOutSearch,
    align_held_out,
    align_with_empty,
    judge_held_out,
)
from extrecon.compare.own_particles import OwnParticles
from extrecon.compare.refinement import Cost
from extrecon.compare.relion_words import grouped
from extrecon.compare.scoring import Scores
from extrecon.errors import ExtreconError, InputError
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.maps.mrc import read_map
from extrecon.system.files import replacing

EMPTY, RECORD = "held_out_empty", "empty.json"
POSED, POSES_RECORD = "held_out_poses", "poses.json"
ALIGNED = "held_out"
_MOST_OF_THE_BOX = 0.9  # the circle, where the command tells no diameter
_RELIONS_RANGE_PX = 6.0
_COARSE_PARTS = 15  # of the diameter: what is finer does not count where poses are found
_COARSE_STEP_PX = 2.0
_LOCAL_RANGE_PX, _LOCAL_STEP_PX = 2.0, 1.0
_STEPS_A_SIGMA = 4  # a local search reaches three of its deviations: most of a step of the coarse grid
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


def coarse_search(own: OwnParticles, finest_angstrom: float) -> HeldOutSearch:
    """Return how poses are found: among all orientations, with the user's shifts and CTF."""
    recipe = own.recipe
    diameter = own.diameter_angstrom
    if diameter is None:
        reference = read_map(own.reference)
        diameter = _MOST_OF_THE_BOX * reference.box * reference.pixel_size_angstrom
    groups = list(grouped(recipe.options))
    return HeldOutSearch(
        diameter_angstrom=diameter,
        finest_angstrom=max(finest_angstrom, diameter / _COARSE_PARTS),
        symmetry=own.symmetry,
        ctf=any(group[0] == "--ctf" for group in groups),
        offset_range_px=recipe.number("--offset_range", _RELIONS_RANGE_PX),
        offset_step_px=_COARSE_STEP_PX,
        padding=int(recipe.number("--pad", 2)),
        threads=own.cores,
        more=tuple(word for group in groups if group[0] in _OF_THE_IMAGES for word in group),
    )


def local_search(own: OwnParticles, finest_angstrom: float) -> HeldOutSearch:
    """Return how each map has the poses searched, about those that were found."""
    coarse = coarse_search(own, finest_angstrom)
    return replace(
        coarse,
        finest_angstrom=finest_angstrom,
        sigma_degrees=60.0 / 2**coarse.usual_order / _STEPS_A_SIGMA,
        offset_range_px=_LOCAL_RANGE_PX,
        offset_step_px=_LOCAL_STEP_PX,
    )


@dataclass(frozen=True)
class Poses:
    """What finds the poses of particles that were held out, once for all maps; an engine's task.

    Attributes
    ----------
    own : the particles
    held_out : those held out
    output : the comparison's folder
    map, mask : with which poses are found
    finest_angstrom : what is finer counts for no map
    """

    own: OwnParticles
    held_out: Path
    output: Path
    map: Path
    mask: Path
    finest_angstrom: float

    @property
    def folder(self) -> Path:
        """Of RELION's files."""
        return self.output / POSED

    @property
    def label(self) -> str:
        """Short form for people."""
        return "poses of the held-out particles"

    @property
    def cores(self) -> int:
        """How many it keeps busy."""
        return self.own.cores

    @property
    def found(self) -> Path:
        """The particles with their poses."""
        return self.folder / POSES

    @property
    def fingerprint(self) -> str:
        """Hash of what they are found with; not of the map, which stays the one that it was first."""
        search = coarse_search(self.own, self.finest_angstrom)
        return fingerprint_of({"search": asdict(search), "particles": file_sha256(self.held_out)})

    @property
    def is_done(self) -> bool:
        """Whether they are found."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((self.folder / POSES_RECORD).read_text())
            return bool(told["fingerprint"] == self.fingerprint) and self.found.is_file()
        return False

    def perform(self, stop: Event | None = None) -> dict[str, Any]:
        """Have RELION find them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        search = coarse_search(self.own, self.finest_angstrom)
        found = align_held_out(
            self.map,
            self.held_out,
            self.folder,
            search,
            working_directory=self.own.folder,
            mask=_inside(self.map, self.mask),
            stop=stop,
        )
        return _keep(self.folder / POSES_RECORD, self.fingerprint, found)


@dataclass(frozen=True)
class Unseen:
    """What aligns particles that were held out to each map, in the same way; as a task, to an empty one.

    Attributes
    ----------
    own : the particles
    particles : those held out, with poses
    output : the comparison's folder
    finest_angstrom : what is finer counts for no map
    """

    own: OwnParticles
    particles: Path
    output: Path
    finest_angstrom: float

    @property
    def search(self) -> HeldOutSearch:
        """How RELION searches about the poses."""
        return local_search(self.own, self.finest_angstrom)

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
            paths = (self.folder / name for name in (REFERENCE, POSES, MODEL))
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
            self.search,
            working_directory=self.own.folder,
            stop=stop,
        )
        return _keep(self.folder / RECORD, self.fingerprint, found)

    @property
    def is_done(self) -> bool:
        """Whether the empty map has been met."""
        return self.kept() is not None

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
        shutil.rmtree(folder, ignore_errors=True)
        search, inside = self.search, _inside(final, mask)
        found = align_held_out(
            final, self.particles, folder, search, working_directory=self.own.folder, mask=inside, stop=stop
        )
        told: Scores = {"held_out_wall_seconds": round(found.cost.wall_seconds, 1)}
        try:
            told |= judge_held_out(found, empty, search).told()
        except ExtreconError as error:  # RELION can read images that extrecon cannot
            nats = found.log_likelihoods - empty.log_likelihoods
            told |= {"held_out_nats": float(nats.mean()), "held_out_nats_each": [round(float(n), 4) for n in nats]}
            told["held_out_problem"] = str(error)
        _remove_maps(folder)
        return told


def _inside(final: Path, mask: Path) -> npt.NDArray[np.float32]:
    whole = read_map(final)
    found = read_mask(mask, MaskGrid("the final map", whole.box, whole.pixel_size_angstrom)).density
    return np.asarray(found, np.float32)


def _keep(path: Path, fingerprint: str, found: Alignment) -> dict[str, Any]:
    told = {
        "fingerprint": fingerprint,
        "log_likelihoods": found.log_likelihoods.tolist(),
        "wall_seconds": round(found.cost.wall_seconds, 1),
        "cpu_seconds": round(found.cost.cpu_seconds, 1),
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(told) + "\n")
    return told


def _remove_maps(folder: Path) -> None:
    for path in folder.glob("*.mrc"):
        path.unlink()
