"""How runs are judged whose truth nobody knows: all by the same mask, model, map and particles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from extrecon.compare.dataset import refuse_spaces
from extrecon.compare.hashes import file_sha256
from extrecon.compare.made_mask import MADE, made_mask, make_mask
from extrecon.compare.own_particles import OwnParticles
from extrecon.compare.runs import Run
from extrecon.compare.scoring import finished_job
from extrecon.compare.subject import REFINED, SCORE
from extrecon.compare.truth_free import Yardsticks, score_without_truth
from extrecon.compare.unseen import ALIGNED, Poses, Unseen
from extrecon.errors import InputError, UsageError
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.maps.mrc import read_companion, read_map
from extrecon.system.files import replacing
from extrecon.validate.local_resolution import usual_window
from extrecon.validate.mask_check import check_mask

SCORE_MASK = "score_mask"
YARDSTICK = "yardstick.json"
_SETTLED = {"recipe", "mask", "map", "told", "window_angstrom", "finest_angstrom"}
_BEYOND = 1.2
Told = dict[str, Any]


@dataclass(frozen=True)
class Judge:
    """What runs are scored with, beside the mask that is made from one of them.

    Attributes
    ----------
    own : the particles, and how they are refined
    mask : the user's, for all scores; None for one that is made
    model : atoms in the frame of the maps
    reference_map : another map in that frame, on their grid
    hashes : of these files
    """

    own: OwnParticles
    mask: Path | None = None
    model: Path | None = None
    reference_map: Path | None = None
    hashes: dict[str, str] = field(default_factory=dict)

    def scorings(self, labels: Mapping[Path, str], output: Path) -> list[Scoring]:
        """Return the tasks of scoring refinements that are done; none before `prepare`.

        Parameters
        ----------
        labels : of the refinements, for people, by their folders
        """
        yardstick = _yardstick(output)
        if yardstick is None:
            return []
        mask = self._mask(yardstick, output)
        told = {**self.hashes, "mask": file_sha256(mask), "window_angstrom": yardstick["window_angstrom"]}
        unseen = self.unseen(output)
        if unseen is not None:
            told["held_out"] = unseen.fingerprint
        return [Scoring(self, folder, label, mask, told, unseen) for folder, label in labels.items()]

    def unseen(self, output: Path) -> Unseen | None:
        """Return what aligns the particles that were held out; None if there are none, or no poses yet."""
        poses = self.poses(output)
        if poses is None or not poses.is_done:
            return None
        return Unseen(self.own, poses.found, output, poses.finest_angstrom)

    def poses(self, output: Path) -> Poses | None:
        """Return what finds the poses of the particles that were held out; None if there are none."""
        yardstick = _yardstick(output)
        if self.own.held_out is None or yardstick is None:
            return None
        mask, finest = self._mask(yardstick, output), yardstick["finest_angstrom"]
        return Poses(self.own, self.own.held_out, output, output / yardstick["map"], mask, finest)

    def _mask(self, yardstick: Told, output: Path) -> Path:
        return self.mask or output / yardstick["mask"]

    def notes(self, output: Path) -> list[str]:
        """Return what a reader of the scores should know."""
        told = [*self.own.notes]
        yardstick = _yardstick(output)
        if self.mask is not None:
            told.append(f"All scores are under the mask {self.mask.name}.")
        elif yardstick is not None and yardstick["mask"] == f"{MADE}.mrc":  # the report tells how that was made
            told.append(f"All scores are under one mask, {MADE}.mrc.")
        elif yardstick is not None:
            told.append(f"All scores are under one mask: {yardstick['told']}")
        if self.own.held_out is not None and yardstick is not None:
            finest = yardstick["finest_angstrom"]
            told.append(f"Of the particles that were held out, what is coarser than {finest:.2f} Å counts.")
        return told

    def prepare(self, runs: Sequence[Run], output: Path) -> None:
        """Settle once for the folder what all scores must have in common.

        That is a mask, if none was given: the one that arms were refined under, else one made likewise; the
        window of the local FSC, whose size changes it; and up to where particles count: a fifth beyond the
        resolution of the run that tells all this, so that an arm that reaches further is credited. This is the
        first plain one, without options of its own if there is one.

        Parameters
        ----------
        runs : whose refinements are done

        Raises
        ------
        InputError, MapError : no mask can be made from it.
        """
        first = min(runs, key=lambda run: (not run.arm.is_plain, bool(run.arm.relion)))
        recipe = first.recipe_fingerprint
        known = _yardstick(output)
        if known is not None and known["recipe"] == recipe and self._mask(known, output).is_file():
            return
        made = made_mask(output, recipe)
        name = SCORE_MASK if made is None else MADE
        told = made or (make_mask(first, output, SCORE_MASK) if self.mask is None else {"told": ""})
        final, halves, _ = finished_job(first.folder)
        one, two = (read_map(path) for path in halves)
        pixel = one.pixel_size_angstrom
        path = self.mask or output / f"{name}.mrc"
        mask = read_mask(path, MaskGrid("the half-maps", one.box, pixel)).density
        reached = check_mask(one, two, mask).resolution("corrected")
        found = {
            "recipe": recipe,
            "from": first.label,
            "mask": f"{name}.mrc",
            "map": f"{first.folder.name}/{final.name}",
            "told": told["told"],
            "window_angstrom": usual_window((one.density, two.density), mask, pixel),
            "finest_angstrom": max(2 * pixel, min(reached / _BEYOND, one.box * pixel / 2)),
        }
        with replacing(output / YARDSTICK) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n")


def read_judge(own: OwnParticles, mask: Path | None, model: Path | None, reference_map: Path | None) -> Judge:
    """Return how runs will be judged, its files read once so that nothing is wrong with them at the end.

    Raises
    ------
    UsageError : a file is not there.
    MapError : the mask or the map does not lie on the grid of the first reference.
    InputError : the model cannot be read.
    """
    from extrecon.atoms.scattering import read_structure

    given = {"score_mask": mask, "model": model, "reference_map": reference_map}
    for option, path in given.items():
        if path is not None and not path.is_file():
            raise UsageError(f"--{option.replace('_', '-')} {path}: there is no such file.")
    like = read_map(own.reference)
    if mask is not None:
        refuse_spaces(mask.resolve())
        read_mask(mask, MaskGrid("the first reference", like.box, like.pixel_size_angstrom))
    if reference_map is not None:
        other = read_companion(reference_map, like.pixel_size_angstrom, "the first reference")
        if other.box != like.box:
            raise UsageError(
                f"--reference-map {reference_map}: is {other.box}³ voxels, but the first reference is {like.box}³."
            )
    if model is not None:
        read_structure(model)
    hashes = {name: file_sha256(path) for name, path in given.items() if path is not None}
    whole = {name: path.resolve() if path is not None else None for name, path in given.items()}
    return Judge(own, whole["score_mask"], whole["model"], whole["reference_map"], hashes)


@dataclass(frozen=True)
class Scoring:
    """The scores of one refinement that is done, an engine's task.

    Attributes
    ----------
    judge : what it is scored with
    folder : of the refinement
    label : short form for people
    mask : for all scores
    told : what the scores are from, by which they are known again
    unseen : the particles that were held out; None if there are none
    """

    judge: Judge
    folder: Path
    label: str
    mask: Path
    told: dict[str, Any]
    unseen: Unseen | None = None

    @property
    def cores(self) -> int:
        """How many it keeps busy: those of a refinement, since RELION aligns the particles that were held out."""
        return self.judge.own.cores

    def kept(self) -> Told | None:
        """Return the scores if they are of this refinement, and from the same files; else None."""
        try:
            found: Told = json.loads((self.folder / SCORE).read_text())
            refined = self._refined()
            is_same = found["judged_by"] == self.told and found["fingerprint"] == refined["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if is_same else None

    def perform(self, stop: Event | None = None) -> Told:
        """Score the final maps, and keep the scores.

        Raises
        ------
        InputError, RefinementError : its files are damaged or gone, or RELION failed.
        """
        judge, refined = self.judge, self._refined()
        by = Yardsticks(self.mask, judge.model, judge.reference_map, judge.own, self.told["window_angstrom"])
        told = {**refined, **score_without_truth(self.folder, by)}
        if self.unseen is not None:
            final = finished_job(self.folder)[0]
            told |= self.unseen.scores(final, self.mask, self.folder / ALIGNED, stop)
        told["judged_by"] = self.told
        with replacing(self.folder / SCORE) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n")
        return told

    def _refined(self) -> Told:
        path = self.folder / REFINED
        try:
            return dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: is damaged ({error}); remove it to do the run again.") from error


def _yardstick(output: Path) -> Told | None:
    with suppress(OSError, ValueError, TypeError):
        told = dict(json.loads((output / YARDSTICK).read_text()))
        return told if told.keys() >= _SETTLED else None
    return None
