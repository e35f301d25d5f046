"""The course of a refinement: resolution, HEALPix order and accuracy against iteration, regularized ones marked.

Matplotlib is imported when a picture is drawn, not before; no display is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extrecon.relion.history import Iteration
from extrecon.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Colours:
    """What is drawn in which colour."""

    half1: str = "tab:blue"
    half2: str = "tab:orange"
    joined: str = "black"
    soft: str = "grey"
    regularized: str = "#b7e1c3"
    failed: str = "#f2b8b0"


# The halves mostly have one resolution: a ring around a dot shows both.
_HALF_STYLES = {1: ("half1", "o", "-", 10.0), 2: ("half2", ".", "--", 8.0), None: ("joined", "D", "-", 7.0)}
_HALF_NAMES = {1: "half 1", 2: "half 2", None: "all particles"}


def draw_refinement(path: Path, iterations: Sequence[Iteration], title: str) -> None:
    """Draw a refinement into a PNG file.

    Parameters
    ----------
    path : of the picture
    iterations : in order
    title : above it

    Raises
    ------
    OutputError : the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    top = draw_course(figure, iterations, Colours())
    top.set_title(title)
    for axes in figure.axes:
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def draw_course(figure: Figure, iterations: Sequence[Iteration], colours: Colours, size: float = 1.0) -> Axes:
    """Draw resolution, HEALPix order and, if RELION told it, accuracy below each other; return the uppermost axes.

    Parameters
    ----------
    size : of markers, against a large picture's
    """
    from matplotlib.ticker import MaxNLocator

    has_accuracy = any(iteration.accuracy_degrees for iteration in iterations)
    heights = (2.0, 1.0, 1.0) if has_accuracy else (2.0, 1.0)
    rows: Any = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    resolution, order = rows[0], rows[1]
    _draw_resolution(resolution, iterations, colours, size)
    _draw_order(order, iterations, colours)
    if has_accuracy:
        _draw_accuracy(rows[2], iterations, colours)
    _shade(rows, iterations, colours)
    for axes in rows:
        axes.grid(alpha=0.3)
    rows[-1].set_xlabel("iteration")
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    order.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=1))
    top: Axes = resolution
    return top


def _draw_resolution(axes: Axes, iterations: Sequence[Iteration], colours: Colours, size: float) -> None:
    for half, (key, marker, line, large) in _HALF_STYLES.items():
        points = [
            (i.number, i.resolution_angstrom[half])
            for i in iterations
            if 0 < i.resolution_angstrom.get(half, 0.0) < float("inf")
        ]
        if points:
            x, y = zip(*points, strict=True)
            colour = getattr(colours, key)
            axes.plot(
                *(x, y),
                label=_HALF_NAMES[half],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=large * size,
                markerfacecolor="none" if half == 1 else colour,
            )
    axes.set_ylabel("resolution (Å)")


def _draw_order(axes: Axes, iterations: Sequence[Iteration], colours: Colours) -> None:
    points = [(i.number, i.healpix_order) for i in iterations if i.healpix_order is not None]
    if points:
        x, y = zip(*points, strict=True)
        axes.step(x, y, where="mid", color=colours.joined, marker=".", label="HEALPix order")
        axes.set_ylim(min(y) - 0.5, max(y) + 0.5)
    local = [i.local_healpix_order for i in iterations if i.local_healpix_order is not None]
    if local and points and min(y) - 0.5 < local[-1] <= max(y) + 0.5:
        axes.axhline(local[-1], color=colours.soft, linestyle=":", label="local search from here")
    axes.set_ylabel("HEALPix\norder")


def _draw_accuracy(axes: Axes, iterations: Sequence[Iteration], colours: Colours) -> None:
    """Draw RELION's own estimate of how well it knows the angles."""
    points = [(i.number, i.accuracy_degrees) for i in iterations if i.accuracy_degrees is not None]
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colours.joined, marker=".")
    axes.set_ylim(0, 1.15 * max(y))
    axes.set_ylabel("accuracy of\nangles (°)")


def _shade(rows: Sequence[Axes], iterations: Sequence[Iteration], colours: Colours) -> None:
    """Mark the iterations whose maps were regularized, and those where that failed."""
    for outcome, colour, name in (
        ("fallback", colours.failed, "regularizer failed"),
        ("regularized", colours.regularized, "regularized"),
    ):
        spans: list[list[int]] = []
        for iteration in iterations:
            if _mark(iteration) == outcome:
                if spans and spans[-1][1] == iteration.number - 1:
                    spans[-1][1] = iteration.number
                else:
                    spans.append([iteration.number, iteration.number])
        for place, (first, last) in enumerate(spans):
            for axes in rows:
                label = name if axes is rows[0] and place == 0 else None
                axes.axvspan(first - 0.5, last + 0.5, color=colour, lw=0, label=label)


def _mark(iteration: Iteration) -> str | None:
    """Return what an iteration is marked for; a failure rather than what the other half got."""
    outcomes = {str(record.get("outcome")) for record in iteration.records.values()}
    return next((outcome for outcome in ("fallback", "regularized") if outcome in outcomes), None)
