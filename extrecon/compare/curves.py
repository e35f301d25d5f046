"""The picture of a comparison: curves by arm, with bands from seed to seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extrecon.compare.baseline import Score, arms_of
from extrecon.compare.columns import all_have
from extrecon.compare.scoring import PERCENTS
from extrecon.fourier.resolution import GOLD_STANDARD, HALF
from extrecon.system.files import replacing

_DOTS_PER_INCH = 120
_SHOWN_PERCENT = 90
# Each curve of scores, its axis, and the threshold that is drawn across.
_FSC = {
    "fsc": ("FSC with the truth", HALF),
    "half_map_fsc": ("half-map FSC, corrected", GOLD_STANDARD),
    "model_fsc": ("FSC with the model", HALF),
    "reference_fsc": ("FSC with the reference map", HALF),
}


def draw(path: Path, scores: Sequence[Score], order: Sequence[str]) -> None:
    """Draw what there is: the angular errors' distribution, and FSC curves; bands are from seed to seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = [key for key in _FSC if all(key in score for score in scores)]
    has_errors = all_have(scores, "median_error_degrees")
    panels = len(curves) + has_errors
    figure = Figure(figsize=(5.5 * panels, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    arms = arms_of(scores, order)
    first = axes[0]
    if has_errors:
        _errors(axes.pop(0), scores, arms)
    for axis, key in zip(axes, curves, strict=True):
        _fsc(axis, key, scores, arms)
    first.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


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
    axis.set(xlabel="spatial frequency, 1/Å", ylabel=name, ylim=(-0.1, 1.05))
