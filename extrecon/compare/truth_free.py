"""Scores of a refinement of particles whose truth nobody knows.

The map is RELION's final, joined one, which no arm regularizes; the half-maps are its unfiltered ones, which no arm
regularizes either. What differs between arms is the angles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.atoms.frame import place_in_map
from extrecon.atoms.scattering import read_structure, scattering_map
from extrecon.compare.own_particles import OwnParticles
from extrecon.compare.scoring import Scores, finished_job
from extrecon.errors import RefinementError
from extrecon.fourier.resolution import HALF, resolution_of_last_above
from extrecon.maps import HalfMap
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.maps.mrc import read_companion, read_map
from extrecon.validate.fsc import fsc
from extrecon.validate.fsc_q import fsc_q
from extrecon.validate.inputs import Inputs
from extrecon.validate.local_resolution import median_local_resolution
from extrecon.validate.mask_check import check_mask
from extrecon.validate.q_score import residue_q_scores
from extrecon.validate.scores import score

FloatArray = npt.NDArray[np.float64]
_DIGITS = 4


@dataclass(frozen=True)
class Yardsticks:
    """What a refinement is scored with.

    Attributes
    ----------
    mask : the same for all arms
    model : atoms in the frame of the maps
    reference_map : another map in that frame
    own : the particles, some of which may be held out
    window_angstrom : of local resolution and FSC-Q, the same for all arms
    """

    mask: Path
    model: Path | None
    reference_map: Path | None
    own: OwnParticles
    window_angstrom: float


def score_without_truth(job: Path, by: Yardsticks) -> Scores:
    """Return all scores of a finished refinement.

    Raises
    ------
    RefinementError : RELION left no finished refinement, or no half-maps.
    """
    final, paths, _ = finished_job(job)
    if len(paths) != 2:
        raise RefinementError(f"{job}: RELION left no half-maps (…_unfil.mrc).")
    whole = read_map(final)
    pixel = whole.pixel_size_angstrom
    first, second = (read_map(path, pixel) for path in paths)
    mask = read_mask(by.mask, MaskGrid("the final map", whole.box, pixel)).density
    told = score(Inputs(map=whole, halves=(first, second), mask=mask))
    check = check_mask(first, second, mask)
    halves = told["half_maps"]
    pair = (first.density, second.density)
    found: Scores = {
        "corrected_resolution_angstrom": check.resolution("corrected"),
        "median_local_resolution_angstrom": median_local_resolution(pair, mask, pixel, by.window_angstrom),
        "half_map_fsc": _rounded(check.corrected),
        "directional_spread_angstrom": halves["directional_worst_angstrom"] - halves["directional_best_angstrom"],
        "box": whole.box,
        "pixel_size_angstrom": pixel,
    }
    maps = (whole, first, second)
    if by.model is not None:
        found |= _against_model(by.model, maps, mask, by.window_angstrom)
    if by.reference_map is not None:
        other = read_companion(by.reference_map, pixel, "the final map")
        found |= _against("reference", np.asarray(other.density, np.float64), maps, mask)
    return {**found, "validation": told}


def _against_model(
    path: Path, maps: tuple[HalfMap, HalfMap, HalfMap], mask: npt.NDArray[Any], window_angstrom: float
) -> Scores:
    whole, *halves = maps
    model = read_structure(path)
    place_in_map(model, whole, str(path))
    density = scattering_map(model, whole.box, whole.pixel_size_angstrom)
    scores = [each for *_, each in residue_q_scores(whole.density, whole.pixel_size_angstrom, model)]
    pair, pixel = (halves[0].density, halves[1].density), whole.pixel_size_angstrom
    support = fsc_q(model, density, whole.density, pair, mask, pixel, window_angstrom).summary()
    return {
        **_against("model", density, maps, mask),
        "mean_q_score": float(np.mean(scores)),
        "mean_absolute_fsc_q_angstrom": support["mean_absolute_angstrom"],
        "fsc_q": support,
    }


def _against(
    name: str, density: FloatArray, maps: tuple[HalfMap, HalfMap, HalfMap], mask: npt.NDArray[Any]
) -> Scores:
    """Return the FSC under the mask of the final map, and of its half-maps in the mean, with another map."""
    whole, *halves = (fsc(each.density * mask, density * mask) for each in maps)
    return {
        f"{name}_fsc": _rounded(whole),
        f"{name}_half_fsc": _rounded(np.mean(halves, axis=0)),
        f"{name}_resolution_angstrom": resolution_of_last_above(whole, maps[0].pixel_size_angstrom, HALF),
    }


def _rounded(curve: FloatArray) -> list[float]:
    return [round(float(value), _DIGITS) for value in curve]
