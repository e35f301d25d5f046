"""All scores of a map, two half-maps or a refinement, as one dictionary that is also the JSON file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import numpy.typing as npt

from extrecon.atoms.frame import place_in_map
from extrecon.atoms.scattering import read_structure, scattering_map
from extrecon.errors import InputError, MapError, RegularizerError, UsageError
from extrecon.fourier.compute import cpu
from extrecon.fourier.resolution import HALF, resolution_of_last_above
from extrecon.fourier.shells import guinier_profile
from extrecon.maps.half_map import HalfMap
from extrecon.relion.particles import read_particles
from extrecon.relion.symmetry import symmetry_group
from extrecon.validate.fsc import (
    directional_fsc,
    fsc,
    fsc_family,
    last_filled_shell,
    real_space_correlation,
    spread_directions,
)
from extrecon.validate.fsc_q import FscQ, fsc_q
from extrecon.validate.inputs import Inputs
from extrecon.validate.poses import PoseErrors, pose_errors
from extrecon.validate.q_score import residue_q_scores
from extrecon.validate.sharpening import judge_sharpening
from extrecon.validate.sign_zones import sign_zones, zone_numbers, zone_warning
from extrecon.validate.wilson import wilson_fit

Scores = dict[str, Any]
_DIRECTIONS = 60


def score(given: Inputs) -> Scores:
    """Return every score that the inputs allow."""
    return score_with_atoms(given)[0]


def score_with_atoms(given: Inputs) -> tuple[Scores, FscQ | None]:
    """Return every score that the inputs allow, and FSC-Q of each atom if there are half-maps and a model."""
    mask = given.mask_or_made
    _check_sizes(given, mask)
    scores: Scores = {
        "inputs": dict(given.names) | ({"mask": "made from the map"} if given.mask is None else {}),
        "regularized_by": list(given.regularizers),
        "warnings": list(given.notes),
        "box": given.map.box,
        "pixel_size_angstrom": given.map.pixel_size_angstrom,
    }
    finest = _finest_whole_shell(given.map)
    if given.halves is not None:
        scores["half_maps"] = _half_map_scores(given.halves, mask)
        finest = max(finest, min(scores["half_maps"]["resolution_angstrom"], 1e6))
    if given.wants_sharpening:
        _judge_sharpening(scores, given, mask)
        finest = max(finest, scores.get("sharpening", {}).get("low_pass_angstrom", 0.0))
    scores["guinier"] = _guinier(given.map, finest)
    if given.truth is not None:
        _compare(scores, "truth", given, np.asarray(given.truth.density, np.float64), mask)
    support = None
    if given.model is not None:
        support = _against_model(scores, given.model, given, mask)
    if given.poses is not None and given.true_poses is not None:
        scores["poses"] = pose_scores(given.poses, given.true_poses, given.symmetry)
    if given.local_resolution is not None:
        inside = given.local_resolution.density[given.local_resolution.density > 0]
        counts, edges = np.histogram(inside, bins=40)
        scores["local_resolution"] = {
            "quartiles_angstrom": [float(q) for q in np.percentile(inside, (25, 50, 75))] if inside.size else [],
            "counts": counts.tolist(),
            "edges_angstrom": edges.tolist(),
        }
    return scores, support


def _judge_sharpening(scores: Scores, given: Inputs, mask: npt.NDArray[np.floating[Any]]) -> None:
    """Add how sharp the map looks beside what its signal allows, or a warning that it cannot be told."""
    before = given.unsharpened or given.halves or ()
    try:
        found = judge_sharpening(given.map, before, np.asarray(mask, np.float32))
    except RegularizerError as error:
        scores["warnings"].append(f"how sharp the map is could not be told: {error}")
        return
    scores["sharpening"] = found.told()
    scores["warnings"] += found.warnings()


def _compare(
    scores: Scores, name: str, given: Inputs, other: npt.NDArray[np.float64], mask: npt.NDArray[np.floating[Any]]
) -> None:
    """Add what another map says of this one, and the warning if they are of opposite sign somewhere."""
    of = given.map
    order = len(symmetry_group(given.symmetry))
    finest = scores["half_maps"]["resolution_angstrom"] if "half_maps" in scores else None
    density = np.asarray(of.density, np.float64)
    zones = sign_zones(density, other, mask, of.pixel_size_angstrom, order, finest)
    scores[name] = _against(of, other, mask) | {"opposite_sign": zone_numbers(zones)}
    if told := zone_warning(zones, name):
        scores["warnings"].append(told)


def _against_model(scores: Scores, path: Path, given: Inputs, mask: npt.NDArray[np.floating[Any]]) -> FscQ | None:
    """Add what an atomic model says of the map, and of the map's own support by the half-maps."""
    model, of = read_structure(path), given.map
    place_in_map(model, of, str(path))
    density = scattering_map(model, of.box, of.pixel_size_angstrom)
    _compare(scores, "model", given, density, mask)
    scores["model"] |= _q(of, model)
    if given.halves is None:
        return None
    halves = (given.halves[0].density, given.halves[1].density)
    found = fsc_q(model, density, of.density, halves, mask, of.pixel_size_angstrom, given.fsc_q_window_angstrom)
    counts, edges = np.histogram(found.values_angstrom[np.isfinite(found.values_angstrom)], bins=40)
    scores["fsc_q"] = found.summary() | {
        "residues_angstrom": [[chain, name, _finite(value)] for chain, name, value in found.residues()],
        "counts": counts.tolist(),
        "edges_angstrom": edges.tolist(),
    }
    return found


def _finite(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _check_sizes(given: Inputs, mask: npt.NDArray[np.floating[Any]]) -> None:
    n = given.map.box
    others = {"the mask": mask.shape[0], "the truth": given.truth.box if given.truth else n}
    others |= {f"unsharpened map {number}": each.box for number, each in enumerate(given.unsharpened, 1)}
    if given.local_resolution is not None:
        others["the local resolution"] = given.local_resolution.box
    if given.halves is not None:
        others |= {"half-map 1": given.halves[0].box, "half-map 2": given.halves[1].box}
    for name, size in others.items():
        if size != n:
            raise MapError(f"The map is {n}³ voxels, but {name} is {size}³.")


def _half_map_scores(halves: tuple[HalfMap, HalfMap], mask: npt.NDArray[np.floating[Any]]) -> Scores:
    first, second = (half.density for half in halves)
    pixel = halves[0].pixel_size_angstrom
    family = fsc_family(first, second, mask)
    last = last_filled_shell(np.asarray(first, np.float64))
    curves = np.ma.masked_invalid(directional_fsc(first * mask, second * mask, spread_directions(_DIRECTIONS)))
    # What few points leave unknown, in the first shells, is no end of the resolution.
    limits = [_limit(curve, last, pixel) for curve in curves.filled(1.0)]
    return {
        **{name: getattr(family, name).tolist() for name in ("unmasked", "masked", "randomised", "corrected")},
        "randomised_from_shell": family.randomised_from,
        "last_filled_shell": last,
        "unmasked_resolution_angstrom": _limit(family.unmasked, last, pixel),
        "resolution_angstrom": _limit(family.corrected, last, pixel),
        "directional_mean": curves.mean(axis=0).filled(1.0).tolist(),
        "directional_sd": curves.std(axis=0).filled(0.0).tolist(),
        "directional_best_angstrom": min(limits),
        "directional_worst_angstrom": max(limits),
    }


def _limit(curve: npt.NDArray[np.float64], last: int, pixel_size_angstrom: float) -> float:
    """Return the resolution of an FSC, Å, of maps that end at a shell: what lies beyond is rounding alone."""
    return resolution_of_last_above(np.where(np.arange(curve.size) <= last, curve, 0.0), pixel_size_angstrom)


def _finest_whole_shell(of: HalfMap) -> float:
    """Return the resolution, Å, of the last shell that is filled: the one before where a map was cut off."""
    last = last_filled_shell(np.asarray(of.density, np.float64))
    whole = last if last == of.box // 2 else max(last - 1, 1)
    return of.box * of.pixel_size_angstrom / whole


def _guinier(of: HalfMap, finest: float) -> Scores:
    profile = guinier_profile(of.density, cpu(1))
    told: Scores = {"ln_amplitude": [float(value) if np.isfinite(value) else None for value in profile]}
    try:
        told["wilson"] = asdict(wilson_fit(profile, of.pixel_size_angstrom, finest))
    except UsageError as error:
        told["no_wilson_fit"] = str(error)
    return told


def _against(of: HalfMap, other: npt.NDArray[np.float64], mask: npt.NDArray[np.floating[Any]]) -> Scores:
    masked = fsc(of.density * mask, other * mask)
    return {
        "unmasked": fsc(of.density, other).tolist(),
        "masked": masked.tolist(),
        "mean_masked_fsc": float(masked[1:-1].mean()),
        "resolution_at_half_angstrom": resolution_of_last_above(masked, of.pixel_size_angstrom, HALF),
        "real_space_correlation": real_space_correlation(of.density, other, mask),
    }


def _q(of: HalfMap, model: gemmi.Structure) -> Scores:
    residues = residue_q_scores(of.density, of.pixel_size_angstrom, model)
    return {
        "mean_q_score": float(np.mean([found for *_, found in residues])),
        "residue_q_scores": [[chain, name, round(found, 4)] for chain, name, found in residues],
    }


def pose_scores(found_path: Path, true_path: Path, symmetry: str) -> Scores:
    """Return median errors of each half-set, and its drift; as `half_set_errors` takes them."""
    return {
        name: {
            "particles": len(errors.angles_degrees),
            "median_angle_degrees": float(np.median(errors.angles_degrees)),
            "median_angle_without_drift_degrees": float(np.median(errors.aligned_angles_degrees)),
            "median_shift_angstrom": float(np.median(errors.shifts_angstrom)),
            "median_shift_without_drift_angstrom": float(np.median(errors.aligned_shifts_angstrom)),
            "drift_degrees": errors.drift_degrees,
            "drift_angstrom": errors.drift_angstrom.tolist(),
        }
        for name, errors in half_set_errors(found_path, true_path, symmetry).items()
    }


def half_set_errors(found_path: Path, true_path: Path, symmetry: str) -> dict[str, PoseErrors]:
    """Return the errors of each half-set (``half1``, ``half2``), or of ``all`` if there are none.

    Images are matched by their numbers in the stack; true poses without image names are in the stack's order.

    Parameters
    ----------
    found_path : RELION's ``…_data.star``
    true_path : STAR file of the true poses
    symmetry : point group

    Raises
    ------
    StarError : a column is missing.
    InputError : an image has no true pose.
    """
    found, true = read_particles(found_path), read_particles(true_path)
    numbers, shifts = found.image_numbers(), true.shifts_angstrom()
    known = true.image_numbers() if true.has_image_names else range(1, len(shifts) + 1)
    place = {number: row for row, number in enumerate(known)}
    missing = [number for number in numbers if number not in place]
    if missing:
        raise InputError(f"{true_path}: has no true pose for image {missing[0]} of {found_path}.")
    rows = np.array([place[number] for number in numbers])
    halves = found.half_sets()
    sets = {"all": np.ones(len(rows), bool)} if halves is None else {f"half{h}": halves == h for h in (1, 2)}
    group = symmetry_group(symmetry)
    poses, true_poses = found.poses(), true.poses()[rows]
    found_shifts, true_shifts = found.shifts_angstrom(), shifts[rows]
    return {
        name: pose_errors(poses[some], true_poses[some], found_shifts[some], true_shifts[some], group)
        for name, some in sets.items()
    }
