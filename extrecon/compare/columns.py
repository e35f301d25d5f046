"""The scores that a comparison shows: what each is called, how it is written, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extrecon.fourier.resolution import GOLD_STANDARD, last_shell_above

Score = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One score of the table: its key, its heading with unit, digits, and which way is better (+1, −1, 0)."""

    key: str
    heading: str
    digits: int
    better: int


COLUMNS = (
    Column("median_error_degrees", "median angular error, °", 3, -1),
    Column("median_shift_error_angstrom", "median shift error, Å", 3, -1),
    Column("mean_fsc", "mean FSC with the truth", 4, 1),
    Column("truth_resolution_angstrom", "FSC 0.5 with the truth, Å", 2, -1),
    Column("held_out_nats_at_best_filter", "held-out log-likelihood, filters fitted, nats", 3, 1),
    Column("held_out_nats", "held-out log-likelihood, nats", 3, 1),
    Column("held_out_mean_frc", "held-out correlation (FRC)", 4, 1),
    Column("mean_model_fsc", "mean FSC with the model", 4, 1),
    Column("model_resolution_angstrom", "FSC 0.5 with the model, Å", 2, -1),
    Column("mean_model_half_fsc", "mean FSC of the halves with the model", 4, 1),
    Column("mean_reference_fsc", "mean FSC with the reference map", 4, 1),
    Column("reference_resolution_angstrom", "FSC 0.5 with the reference map, Å", 2, -1),
    Column("mean_reference_half_fsc", "mean FSC of the halves with it", 4, 1),
    Column("corrected_resolution_angstrom", "half-map resolution, corrected, Å", 2, -1),
    Column("directional_spread_angstrom", "its spread over directions, Å", 2, -1),
    Column("median_local_resolution_angstrom", "median local resolution, Å", 2, -1),
    Column("resolution_angstrom", "RELION's resolution, Å", 2, -1),
    Column("mean_q_score", "mean Q-score", 4, 1),
    Column("mean_absolute_fsc_q_angstrom", "mean distance of FSC-Q from 0, Å", 3, -1),
    Column("iterations", "iterations", 1, 0),
    Column("regularized", "regularized calls", 1, 0),
    Column("wall_seconds", "s a run", 0, 0),
    Column("cpu_seconds", "CPU s", 0, 0),
    Column("peak_memory_mb", "peak memory, MB", 0, 0),
)
BY_KEY = {column.key: column for column in COLUMNS}

RANKING: Mapping[str, str] = {
    "median_error_degrees": "the smallest angular errors",
    "held_out_nats_at_best_filter": "the largest log-likelihood of held-out particles, filters fitted",
    "held_out_nats": "the largest log-likelihood of held-out particles",
    "mean_model_fsc": "the largest FSC with the model",
    "mean_reference_fsc": "the largest FSC with the reference map",
    "corrected_resolution_angstrom": "the finest half-map resolution, corrected for the mask",
}
"""What the strongest arm is told by, the first that all arms have, and how that is said.

RELION damps a final map by its own FSC, less under a mask with the corrected one. The likelihood of a map as it is
judges that filter as much as the map; with a factor fitted for each shell it judges what the map shows.
"""

_CURVES = ("model_fsc", "model_half_fsc", "reference_fsc", "reference_half_fsc")


def with_common_means(scores: Sequence[Score]) -> list[Score]:
    """Return scores with each curve's mean over the same shells, up to the finest corrected resolution of any run.

    A mean up to each run's own resolution would punish the run that reaches further.
    """
    reach = [last_shell_above(np.array(s["half_map_fsc"]), GOLD_STANDARD) for s in scores if "half_map_fsc" in s]
    if not reach:
        return list(scores)
    last = max(1, *reach)
    told = []
    for score in scores:
        means = {f"mean_{key}": float(np.mean(score[key][1 : last + 1])) for key in _CURVES if key in score}
        edge = score.get("box", 0) * score.get("pixel_size_angstrom", 0.0)
        told.append({**score, **means, "means_up_to_angstrom": edge / last})
    return told


def ranked_by(scores: Sequence[Score]) -> str:
    """Return the key of the score that tells the strongest of some runs: the first of `RANKING` that all have."""
    return next((key for key in RANKING if all_have(scores, key)), "resolution_angstrom")


def all_have(runs: Sequence[Score], key: str) -> bool:
    """Tell whether all of some runs, at least one, have a finite score."""
    return bool(runs) and all(key in run and np.isfinite(run[key]) for run in runs)
