"""A picture of a refinement: resolution and HEALPix order against iteration, regularized iterations marked.

Matplotlib is imported when a picture is drawn, not before; no display is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from extrecon.relion.history import Iteration
from extrecon.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REGULARIZED, _FALLBACK = "#b7e1c3", "#f2b8b0"
# The halves mostly have one resolution: a ring around a dot shows both.
_HALF_STYLES = {1: ("tab:blue", "o", "-", 10.0), 2: ("tab:orange", ".", "--", 8.0), None: ("black", "D", "-", 7.0)}


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
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.0, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    resolution, order = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    _draw_resolution(resolution, iterations)
    _draw_order(order, iterations)
    _shade(resolution, order, iterations)
    resolution.set_title(title)
    for axes in (resolution, order):
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    order.set_xlabel("iteration")
    order.xaxis.set_major_locator(MaxNLocator(integer=True))
    order.yaxis.set_major_locator(MaxNLocator(integer=True))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _draw_resolution(axes: Axes, iterations: Sequence[Iteration]) -> None:
    names = {1: "half 1", 2: "half 2", None: "all particles"}
    for half, (colour, marker, line, size) in _HALF_STYLES.items():
        points = [
            (i.number, i.resolution_angstrom[half])
            for i in iterations
            if 0 < i.resolution_angstrom.get(half, 0.0) < float("inf")
        ]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(
                *(x, y),
                label=names[half],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=size,
                markerfacecolor="none" if half == 1 else colour,
            )
    axes.set_ylabel("resolution (Å)")
    axes.grid(alpha=0.3)


def _draw_order(axes: Axes, iterations: Sequence[Iteration]) -> None:
    points = [(i.number, i.healpix_order) for i in iterations if i.healpix_order is not None]
    if points:
        x, y = zip(*points, strict=True)
        axes.step(x, y, where="mid", color="black", marker=".", label="HEALPix order")
        axes.set_ylim(min(y) - 0.5, max(y) + 0.5)
    local = [i.local_healpix_order for i in iterations if i.local_healpix_order is not None]
    if local and points and min(y) - 0.5 < local[-1] <= max(y) + 0.5:
        axes.axhline(local[-1], color="grey", linestyle=":", label="local search from here")
    axes.set_ylabel("HEALPix order")
    axes.grid(alpha=0.3)


def _shade(upper: Axes, lower: Axes, iterations: Sequence[Iteration]) -> None:
    """Mark the iterations whose maps were regularized, and those where that failed."""
    labelled: set[str] = set()
    for iteration in iterations:
        outcomes = {str(record.get("outcome")) for record in iteration.records.values()}
        for outcome, colour, name in (
            ("fallback", _FALLBACK, "regularizer failed"),
            ("regularized", _REGULARIZED, "regularized"),
        ):
            if outcome in outcomes:
                for axes in (upper, lower):
                    label = name if axes is upper and name not in labelled else None
                    axes.axvspan(iteration.number - 0.5, iteration.number + 0.5, color=colour, lw=0, label=label)
                labelled.add(name)
                break
