"""One picture of a mask: three slices with its outline, and what it does to the half-maps' FSC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from extrecon.maps import HalfMap
from extrecon.pictures.maps import BRIGHTEST_PERCENTILE, coloured_slice, slice_panels
from extrecon.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTS_PER_INCH = 120
_LEVELS = (0.01, 0.5, 0.99)
_OUTLINES = ("#56B4E9", "#E69F00", "#56B4E9")
_STYLES = {"unmasked": "0.6", "masked": "C0", "randomised": "C3", "corrected": "C2"}


def draw_mask(
    path: Path,
    of: HalfMap,
    mask: npt.NDArray[np.float32],
    curves: Mapping[str, npt.NDArray[np.float64]] | None = None,
) -> None:
    """Write a PNG of a mask.

    Parameters
    ----------
    path : of the PNG; replaced in one step
    of : the map that the mask was made from, low-passed or not
    mask : (n, n, n) array, axes z, y, x; 0 to 1
    curves : FSC curves of the half-maps, (n // 2 + 1,), by name; None for a single map

    Raises
    ------
    OutputError : the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.6 if curves else 4), layout="constrained")
    FigureCanvasAgg(figure)
    areas: Any = figure.subfigures(2, 1, height_ratios=[1.05, 1.0]) if curves else [figure.subfigures(1, 1)]
    _draw_outlines(areas[0], of, mask)
    if curves:
        _draw_curves(areas[1].subplots(1, 1), curves, of.box * of.pixel_size_angstrom)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


def _draw_outlines(area: Any, of: HalfMap, mask: npt.NDArray[np.float32]) -> None:
    """Draw the slices through the mask's centre of mass, where the particle is."""
    brightest = max(float(np.percentile(of.density, BRIGHTEST_PERCENTILE)), 1e-30)
    middle = [round(float(np.average(np.arange(of.box), weights=_profile(mask, axis)))) for axis in range(3)]
    half = of.box * of.pixel_size_angstrom / 2
    extent = (-half, half, -half, half)
    for axis, panel in enumerate(slice_panels(area, of.box, of.pixel_size_angstrom, middle)):
        at = middle[axis]
        image = coloured_slice(np.take(of.density, at, axis), None, (0.0, 1.0), brightest)
        panel.imshow(image, origin="lower", extent=extent, interpolation="nearest")
        outline = np.take(mask, at, axis)
        if outline.min() < _LEVELS[1] < outline.max():
            panel.contour(
                outline, _LEVELS, colors=_OUTLINES, linewidths=(0.8, 1.6, 0.8), origin="lower", extent=extent
            )
    area.suptitle("outline at a half, thin where the soft edge begins and ends", fontsize="medium")


def _profile(mask: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float64]:
    others = tuple(each for each in range(3) if each != axis)
    profile: npt.NDArray[np.float64] = mask.sum(axis=others, dtype=np.float64)
    return profile


def _draw_curves(axes: Axes, curves: Mapping[str, npt.NDArray[np.float64]], box_angstrom: float) -> None:
    for name, curve in curves.items():
        axes.plot(np.arange(len(curve)) / box_angstrom, curve, color=_STYLES.get(name), label=name)
    axes.axhline(0.143, color="0.6", linewidth=0.8)
    axes.set(xlabel="spatial frequency, 1/Å", ylabel="FSC of the half-maps", ylim=(-0.1, 1.05))
    axes.legend(frameon=False)
