"""The maps of several refinements side by side, on one scale: a central slice and the density along one axis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.pictures.slices import enlarged, grey_limits
from extrecon.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS = 5
"""Maps beside each other; more go below."""
_INCHES = 2.3
_DOTS_PER_INCH = 110
_PIXELS = 240
_SCALE_BARS_ANGSTROM = (10.0, 20.0, 50.0, 100.0, 200.0)


def draw_arms(path: Path, maps: Mapping[str, HalfMap], what: str) -> None:
    """Write a PNG with two panels a map: the slice across z through voxel n // 2, and the sum along z.

    All maps have one root mean square and one grey scale, so that what differs is the density's form.

    Parameters
    ----------
    path : of the PNG; replaced in one step
    maps : at least one, by the name that is shown, in order
    what : they are, for the caption

    Raises
    ------
    OutputError : the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(_ACROSS, len(maps))
    rows = 2 * -(-len(maps) // across)
    figure = Figure(figsize=(_INCHES * across, _INCHES * rows + 0.25 * (rows // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, across, squeeze=False)
    planes = {name: _planes(each) for name, each in maps.items()}
    limits = [grey_limits([each[kind] for each in planes.values()]) for kind in range(2)]
    for panel in panels.ravel():
        panel.set_axis_off()
    for index, (name, pair) in enumerate(planes.items()):
        row, column = 2 * (index // across), index % across
        for kind in range(2):
            black, white = limits[kind]
            panel = panels[row + kind, column]
            panel.imshow(enlarged(pair[kind], _PIXELS), cmap="gray", origin="lower", vmin=black, vmax=white)
        panels[row, column].set_title(name, fontsize="medium")
    one = next(iter(maps.values()))
    _draw_scale_bar(panels[1, 0], one.box * one.pixel_size_angstrom)
    told = f"{what}; above: slice across z through the centre, below: density summed along z"
    figure.supxlabel(told, fontsize="medium")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


def _planes(density: HalfMap) -> list[FloatArray]:
    """Return the central slice and the projection along z, (n, n) each, of the map at a mean square of 1."""
    values = np.asarray(density.density, np.float64)
    values = values / max(float(np.sqrt(np.mean(values**2))), 1e-30)
    return [values[len(values) // 2], values.sum(axis=0)]


def _draw_scale_bar(panel: Axes, edge_angstrom: float) -> None:
    length = max((each for each in _SCALE_BARS_ANGSTROM if each < edge_angstrom / 3), default=edge_angstrom / 4)
    pixels = panel.get_xlim()[1] - panel.get_xlim()[0]
    start, height = 0.06 * pixels, 0.07 * pixels
    panel.plot([start, start + length / edge_angstrom * pixels], [height, height], color="white", linewidth=2)
    panel.text(start, 1.4 * height, f"{length:g} Å", color="white", fontsize="small")
