"""The scores of one finished refinement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from extrecon.compare.dataset import DataSet
from extrecon.errors import RefinementError
from extrecon.maps.mrc import read_map
from extrecon.relion import labels
from extrecon.relion.names import CALL_RECORD, DATA, MODEL, iteration_of, parse_file_name
from extrecon.relion.star import read_star
from extrecon.validate.inputs import Inputs, from_job
from extrecon.validate.scores import half_set_errors, score

Scores = dict[str, Any]
PERCENTS = tuple(range(0, 101, 2))


def angular_errors(job: Path, true_poses: Path, symmetry: str) -> Scores:
    """Return the angular errors (degrees) within the half-sets, each freed of its common turn, and those turns."""
    found = half_set_errors(finished_job(job)[2], true_poses, symmetry)
    angles = np.concatenate([each.aligned_angles_degrees for each in found.values()])
    shifts = np.concatenate([each.aligned_shifts_angstrom for each in found.values()])
    return {
        "median_error_degrees": float(np.median(angles)),
        "error_percentiles_degrees": [round(float(value), 4) for value in np.percentile(angles, PERCENTS)],
        "median_shift_error_angstrom": float(np.median(shifts)),
        "drift_degrees": [each.drift_degrees for each in found.values()],
    }


def course(job: Path) -> Scores:
    """Return RELION's resolution (Å, half-map FSC 0.143), the number of iterations, and what the hook did.

    A refinement that was continued has all its files in the same folder, its root's name with ``_ctNN`` or without.

    Raises
    ------
    RefinementError : RELION left no finished refinement.
    """
    _, _, poses = finished_job(job)
    model = poses.with_name(poses.name.removesuffix(DATA) + MODEL)
    names = {path: name for path in job.iterdir() if (name := parse_file_name(path.name)) is not None}
    of_halves = [path for path, name in names.items() if name.half and name.ending == CALL_RECORD]
    records = [json.loads(path.read_text()) for path in of_halves]
    return {
        "resolution_angstrom": read_star(model, first_block_only=True).number(
            labels.MODEL_GENERAL, labels.RESOLUTION
        ),
        "iterations": max((name.iteration for name in names.values() if name.ending == MODEL), default=0),
        "calls": len(records),
        "regularized": sum(record["outcome"] == "regularized" for record in records),
        "fallbacks": sum(record["outcome"] == "fallback" for record in records),
    }


def score_refinement(job: Path, data: DataSet) -> Scores:
    """Return all scores of a refinement against the truth of its particles.

    The map is RELION's final, joined one, which no arm regularizes. What `extrecon.validate` says of it is kept
    under ``validation``.

    Raises
    ------
    RefinementError : RELION left no finished refinement.
    """
    final, halves, _ = finished_job(job)
    density = read_map(final)
    pixel = density.pixel_size_angstrom
    pair = [read_map(path, pixel) for path in halves]
    told = score(
        Inputs(
            map=density,
            halves=(pair[0], pair[1]) if len(pair) == 2 else None,
            mask=read_map(data.folder / "mask.mrc", pixel).density,
            truth=read_map(data.folder / "truth.mrc", pixel),
            model=data.model,
        )
    )
    truth = told["truth"]
    return {
        **angular_errors(job, data.folder / "true.star", data.symmetry),
        "mean_fsc": truth["mean_masked_fsc"],
        "fsc": [round(value, 4) for value in truth["masked"]],
        "truth_resolution_angstrom": truth["resolution_at_half_angstrom"],
        "real_space_correlation": truth["real_space_correlation"],
        **({"mean_q_score": told["model"]["mean_q_score"]} if "model" in told else {}),
        **course(job),
        "box": told["box"],
        "pixel_size_angstrom": told["pixel_size_angstrom"],
        "validation": told,
    }


def remove_bulk(job: Path) -> None:
    """Remove the accumulators, and the maps and particles of all iterations; the final ones stay."""
    for path in (*job.glob("*.mrc"), *job.glob(f"*{DATA}")):
        if iteration_of(path.name) is not None:
            path.unlink()


def finished_job(job: Path) -> tuple[Path, list[Path], Path]:
    """Return the final map, the unfiltered half-maps and the particles of a refinement.

    Raises
    ------
    RefinementError : RELION left no final map.
    """
    final, halves, poses = from_job(job)
    if not final.is_file():
        raise RefinementError(f"{job}: RELION ended without the final map {final.name}.")
    return final, halves, poses
