"""The picture of a comparison: curves by arm, with bands from seed to seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from extrecon.compare.baseline import Score, arms_of, paired_by_seed, reference_arm
from extrecon.compare.columns import BY_KEY, Column, all_have, ranked_by
from extrecon.compare.scoring import PERCENTS
from extrecon.fourier.resolution import GOLD_STANDARD, HALF
from extrecon.system.files import replacing

_DOTS_PER_INCH = 120
_MOST_ACROSS = 3
_SHOWN_PERCENT = 90
# Each curve of scores, its axis, and the threshold that is drawn across.
_FSC = {
    "fsc": ("FSC with the truth", HALF),
    "half_map_fsc": ("half-map FSC, corrected", GOLD_STANDARD),
    "model_fsc": ("FSC with the model", HALF),
    "reference_fsc": ("FSC with the reference map", HALF),
}


def draw(path: Path, scores: Sequence[Score], order: Sequence[str]) -> None:
    """Draw what there is: the angular errors' distribution, FSC curves, and the score by which arms are ranked.

    Means and bands are over the seeds that all arms have; the last panel has every run beside the arm to beat.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    arms = arms_of(scores, order)
    common = _of_common_seeds(scores, arms)
    draws: list[Callable[[Any], None]] = []
    if all_have(scores, "median_error_degrees"):
        draws.append(partial(_errors, scores=common, arms=arms))
    keys = [key for key in _FSC if all(key in score for score in scores)]
    draws += [partial(_fsc, key=key, scores=common, arms=arms) for key in keys]
    best, key = reference_arm(scores, order), ranked_by(scores)
    known = [score for score in scores if key in score]
    pairs = {arm: paired_by_seed(known, arm, best) for arm in arms if arm != best}
    if differences := {arm: [run[key] - first[key] for run, first in each] for arm, each in pairs.items() if each}:
        draws.append(partial(_ranked, differences=differences, arms=arms, best=best, column=BY_KEY[key]))
    across = len(draws) if len(draws) <= _MOST_ACROSS else 2
    rows = -(-len(draws) // across)
    figure = Figure(figsize=(5.5 * across, 4.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, across, squeeze=False).ravel())
    for panel, each in zip(panels, draws, strict=False):
        each(panel)
    for panel in panels[len(draws) :]:
        panel.set_axis_off()
    panels[0].legend(frameon=False, fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


def _of_common_seeds(scores: Sequence[Score], arms: Sequence[str]) -> list[Score]:
    """Return the runs of the seeds that all arms have; all runs where there is no such seed."""
    seeds = [{score["seed"] for score in scores if score["arm"] == arm} for arm in arms]
    common = set.intersection(*seeds)
    return [score for score in scores if score["seed"] in common or not common]


def _ranked(
    axis: Any, differences: Mapping[str, Sequence[float]], arms: Sequence[str], best: str, column: Column
) -> None:
    """Draw a row an arm, of how its runs differ from those of the arm to beat: a dot a seed, a bar at the mean."""
    for row, (arm, each) in enumerate(differences.items()):
        colour = f"C{arms.index(arm) % 10}"
        axis.plot(each, [-row] * len(each), "o", color=colour, alpha=0.7)
        axis.plot([np.mean(each)] * 2, [-row - 0.3, -row + 0.3], color=colour, linewidth=2)
    axis.axvline(0.0, color="0.6", linewidth=0.8)
    axis.set_yticks([-row for row in range(len(differences))], list(differences))
    towards = {1: "right is better", -1: "left is better"}[column.better]
    axis.set(xlabel=f"{column.heading},\nless that of {best}: a dot a seed, {towards}")


def _errors(axis: Any, scores: Sequence[Score], arms: Sequence[str]) -> None:
    for index, arm in enumerate(arms):
        angles = np.array([score["error_percentiles_degrees"] for score in scores if score["arm"] == arm])
        colour = f"C{index % 10}"
        axis.plot(angles.mean(axis=0), PERCENTS, color=colour, label=arm)
        axis.fill_betweenx(PERCENTS, angles.min(axis=0), angles.max(axis=0), color=colour, alpha=0.2)
    # A few particles go far astray: shown to the last one, they would press the rest together.
    shown = PERCENTS.index(_SHOWN_PERCENT)
    most = 1.5 * max([1e-3, *(score["error_percentiles_degrees"][shown] for score in scores)])
    axis.set(xlabel="angular error, °", ylabel="particles, %", xlim=(0, most), ylim=(0, 100))


def _fsc(axis: Any, key: str, scores: Sequence[Score], arms: Sequence[str]) -> None:
    name, threshold = _FSC[key]
    for index, arm in enumerate(arms):
        runs = [score for score in scores if score["arm"] == arm]
        curves = np.array([run[key] for run in runs])
        frequency = np.arange(curves.shape[1]) / (runs[0]["box"] * runs[0]["pixel_size_angstrom"])
        colour = f"C{index % 10}"
        axis.plot(frequency, curves.mean(axis=0), color=colour, label=arm)
        axis.fill_between(frequency, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2)
    axis.axhline(threshold, color="0.6", linewidth=0.8)
    axis.annotate(f"{threshold:g}", (0.01, threshold), xycoords=("axes fraction", "data"), color="0.4", va="bottom")
    axis.set(xlabel="spatial frequency, 1/Å", ylabel=name, ylim=(-0.1, 1.05))
