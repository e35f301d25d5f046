"""The plots of a refinement's page: course, FSC, what was done to each shell, time and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from extrecon.fourier.resolution import GOLD_STANDARD
from extrecon.pictures import plots
from extrecon.pictures.page import Html
from extrecon.pictures.refinement import Colours, draw_course
from extrecon.relion.history import CallName, Iteration
from extrecon.relion.telling import FscChange, held_shells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PAGE = Colours(plots.HALF_1, plots.HALF_2, plots.JOINED, plots.SOFT, plots.GOOD_FILL, plots.BAD_FILL)
_MARGINS = {"left": 0.19, "right": 0.97}
_CALL_COLOURS = {1: plots.HALF_1, 2: plots.HALF_2, None: plots.JOINED}


def course(iterations: Sequence[Iteration]) -> Html:
    """Return resolution, HEALPix order and accuracy against iteration."""

    def draw(figure: Figure) -> None:
        top = draw_course(figure, iterations, _PAGE, size=0.6)
        plots.legend_above(top, 3)
        figure.subplots_adjust(**_MARGINS, bottom=0.1, top=0.88, hspace=0.18)
        figure.align_ylabels()

    return plots.plot(
        "course",
        "Resolution, HEALPix order and accuracy of angles against iteration",
        4.4,
        draw,
        "RELION's resolution of each half, the HEALPix order (search is local from the dotted line on) and "
        "RELION's estimate of the accuracy of angles. Green: maps were regularized. Red: the regularizer failed.",
    )


def fsc(iterations: Sequence[Iteration], change: FscChange | None, final: Iteration | None) -> Html:
    """Return the half-maps' FSC of all iterations, the last against the one before, and the final one.

    Parameters
    ----------
    change : of the last iteration; None if there is only one
    final : the joined iteration of a finished refinement
    """
    known = [i for i in iterations if i.half_map_fsc and i.pixel_size_angstrom]
    if not known:
        return Html("")

    def draw(figure: Figure) -> None:
        if change is None:
            _draw_fsc(figure.subplots(), known, change, final)
            figure.subplots_adjust(**_MARGINS, bottom=0.12, top=0.88)
            return
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1.0))
        _draw_fsc(upper, known, change, final)
        curves = [_curve(iteration) for iteration in (change.now, change.before)]
        both = min(len(frequency) for frequency, _ in curves)
        difference = curves[0][1][:both] - curves[1][1][:both]
        lower.axhline(0, color=plots.SOFT, linewidth=0.8)
        lower.plot(curves[0][0][:both], difference, color=plots.HALF_2)
        widest = max(0.02, 1.15 * float(np.abs(difference).max()))
        lower.set(ylabel="change", ylim=(-widest, widest), xlabel="resolution (Å)")
        figure.subplots_adjust(**_MARGINS, bottom=0.1, top=0.92, hspace=0.14)
        figure.align_ylabels()

    caption = "FSC of the half-maps as RELION tells it, against resolution; faint: earlier iterations."
    return plots.plot("fsc", "Fourier shell correlation of the half-maps", 4.4, draw, caption)


def _curve(iteration: Iteration) -> tuple[Any, Any]:
    """Return the spatial frequencies, 1/Å, and the FSC of the shells that RELION's images held, (m,) each."""
    shells = len(iteration.half_map_fsc)
    frequency = np.arange(shells) / (2 * (shells - 1) * (iteration.pixel_size_angstrom or 1.0))
    held = held_shells(iteration)
    return frequency[:held], np.array(iteration.half_map_fsc[:held])


def _draw_fsc(axes: Axes, known: Sequence[Iteration], change: FscChange | None, final: Iteration | None) -> None:
    lines: list[tuple[Iteration, str, dict[str, Any]]] = []
    if change is not None:
        lines.append((change.before, "", {"color": plots.HALF_1, "linestyle": "--"}))
    now = change.now if change else known[-1]
    if final is None or now.number != final.number:
        lines.append((now, "", {"color": plots.HALF_2}))
    if final is not None:
        lines.append((final, "final ", {"color": plots.JOINED, "linewidth": 2.0}))
    special = {iteration.number for iteration, *_ in lines}
    for iteration in known:
        if iteration.number not in special:
            axes.plot(*_curve(iteration), color=plots.FAINT, linewidth=0.7)
    for iteration, name, style in lines:
        axes.plot(*_curve(iteration), label=f"{name}it{iteration.number:03d}", **style)
    axes.axhline(GOLD_STANDARD, color=plots.SOFT, linewidth=0.8, linestyle=":")
    axes.set(ylabel="FSC", ylim=(min(-0.05, 1.1 * min(known[-1].half_map_fsc)), 1.05))
    plots.resolution_axis(axes, max(1 / (2 * (i.pixel_size_angstrom or 1.0)) for i in known))
    if change is None:
        axes.set_xlabel("resolution (Å)")
    plots.legend_above(axes, 3)


def shells(parts: Mapping[CallName, Mapping[str, Sequence[float]]], pixel_size_angstrom: float) -> Html:
    """Return how much of each shell is the regularizer's, and by how much it was scaled.

    Parameters
    ----------
    parts : by call, the curves "weights" and "shell_scale", one value a shell; either may be missing
    """
    wanted = [(key, told) for key, told in _SHELL_ROWS if any(part.get(key) for part in parts.values())]
    if not wanted:
        return Html("")
    height = 1.2 + 1.7 * len(wanted)

    def draw(figure: Figure) -> None:
        rows = np.ravel(figure.subplots(len(wanted), 1, sharex=True))
        for axes, (key, told) in zip(rows, wanted, strict=True):
            for call, part in parts.items():
                if part.get(key):
                    _draw_shells(axes, part[key], call, pixel_size_angstrom)
            axes.set(ylabel=told)
            low, high = axes.get_ylim()
            axes.set_ylim(min(0.0, low), max(1.05, high))
        rows[-1].set_xlabel("resolution (Å)")
        plots.legend_above(rows[0], 3)
        figure.subplots_adjust(**_MARGINS, bottom=0.5 / height, top=1 - 0.4 / height, hspace=0.16)
        figure.align_ylabels()

    caption = " ".join(_SHELL_CAPTIONS[key] for key, _ in wanted)
    return plots.plot("shells", "Blend weight and scale of each Fourier shell", height, draw, caption)


_SHELL_ROWS = (("weights", "weight"), ("shell_scale", "scale"))
_SHELL_CAPTIONS = {
    "weights": "Weight: the regularizer's part of each Fourier shell when it is blended with the half-map.",
    "shell_scale": "Scale: what each shell of the result was multiplied by; 0 where it was cut off.",
}


def _draw_shells(axes: Axes, curve: Sequence[float], call: CallName, pixel_size_angstrom: float) -> None:
    last = 1 / (2 * pixel_size_angstrom)
    frequency = np.linspace(0, last, len(curve))
    dashes = "--" if call.half == 2 else "-"
    axes.plot(frequency, curve, color=_CALL_COLOURS[call.half], linestyle=dashes, label=call.label)
    plots.resolution_axis(axes, last)


def cost(iterations: Sequence[Iteration]) -> Html:
    """Return seconds by stage, and peak memory, against iteration; each the mean of the iteration's calls."""
    timed = [i for i in iterations if any(record.get("seconds") for record in i.records.values())]
    if not timed:
        return Html("")
    memory = [(i.number, found) for i in timed if (found := _memory(i)) is not None]

    def draw(figure: Figure) -> None:
        rows = np.ravel(figure.subplots(1 + bool(memory), 1, sharex=True, squeeze=False))
        _draw_seconds(rows[0], timed)
        if memory:
            x, y = zip(*memory, strict=True)
            rows[1].plot(x, y, color=plots.JOINED, marker=".", linewidth=1.0)
            rows[1].set(ylabel="memory (MB)", ylim=(0, 1.2 * max(y)))
        rows[-1].set_xlabel("iteration")
        figure.subplots_adjust(**_MARGINS, bottom=0.11, top=0.82, hspace=0.14)
        figure.align_ylabels()

    caption = "Wall time by stage, and the most memory of the process at work; means of an iteration's calls."
    return plots.plot("cost", "Seconds and memory of a call against iteration", 4.4, draw, caption)


def _draw_seconds(axes: Axes, timed: Sequence[Iteration]) -> None:
    from matplotlib.ticker import MaxNLocator

    calls = [record.get("seconds", {}) for i in timed for record in i.records.values()]
    stages = list(dict.fromkeys(stage for seconds in calls for stage in seconds))
    means = np.array([[_mean_seconds(i, stage) for i in timed] for stage in stages])
    order = np.argsort(-means.sum(axis=1), kind="stable")
    shown, rest = order[: len(plots.STAGES) - 1], order[len(plots.STAGES) - 1 :]
    layers = [(stages[place], means[place]) for place in shown]
    if rest.size:
        layers.append(("other", means[rest].sum(axis=0)))
    x = np.array([i.number for i in timed])
    floor = np.zeros(len(timed))
    for colour, (name, values) in zip(plots.STAGES, layers, strict=False):
        # One outline a stage, not a rectangle an iteration: a long refinement's page stays small.
        for run in np.split(np.arange(x.size), np.flatnonzero(np.diff(x) > 1) + 1):
            edges = np.append(x[run] - 0.4, x[run[-1]] + 0.6) - 0.1
            label = name if run[0] == 0 else None
            axes.stairs(
                (floor + values)[run], edges, baseline=floor[run], fill=True, color=colour, lw=0, label=label
            )
        floor = floor + values
    axes.set(ylabel="seconds a call", ylim=(0, max(1e-3, 1.08 * float(floor.max()))))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plots.legend_above(axes, 3)


def _mean_seconds(iteration: Iteration, stage: str) -> float:
    calls = [record["seconds"].get(stage, 0.0) for record in iteration.records.values() if record.get("seconds")]
    return float(np.mean(calls))


def _memory(iteration: Iteration) -> float | None:
    told = [record.get("peak_memory_megabytes") for record in iteration.records.values()]
    known = [float(value) for value in told if isinstance(value, int | float) and math.isfinite(value)]
    return float(np.mean(known)) if known else None
