"""One picture of a map: what was found locally, three central slices; of a regularized one its Guinier plot, too.

Matplotlib is imported when a picture is drawn, not before; no display is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Compute, cpu
from extrecon.fourier.shells import guinier_profile
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOCAL = {
    "local_resolution": ("local resolution", "Å"),
    "local_b": ("local B factor", "Å²"),
    "confidence": ("confidence", ""),
}
_AXES = ("z", "y", "x")
_COLOURS = "cool"  # from cyan, fine, to magenta, coarse: all equally bright, so that brightness is density alone
BRIGHTEST_PERCENTILE = 99.7
_DARKEST = 0.25  # of full brightness, so that a colour can be told where the density is low
_DOTS_PER_INCH = 120


@dataclass(frozen=True)
class Local:
    """A local quantity, which colours the slices.

    Attributes
    ----------
    values : (n, n, n) array, axes z, y, x; 0 where there is none
    name : what it is
    unit : "" if it has none
    """

    values: FloatArray
    name: str
    unit: str

    @property
    def label(self) -> str:
        """Name and unit, for an axis."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def known(self) -> FloatArray:
        """The values where there are some, (m,)."""
        known: FloatArray = self.values[self.values != 0]
        return known


def local_of(maps: Mapping[str, FloatArray]) -> Local | None:
    """Return the first of a regularizer's maps that can colour a picture, by the names that have a meaning."""
    for key, (name, unit) in _LOCAL.items():
        if key in maps and np.any(maps[key]):
            return Local(maps[key], name, unit)
    return None


def draw_regularized(
    path: Path,
    before: HalfMap,
    after: FloatArray,
    local: Local | None = None,
    curves: Mapping[str, FloatArray] | None = None,
    compute: Compute | None = None,
) -> None:
    """Write a PNG of a map before and after.

    Parameters
    ----------
    path : of the PNG; replaced in one step
    before : the map that was regularized
    after : (n, n, n) array, axes z, y, x; the result
    local : what colours the slices and is told in a histogram; None: the slices are grey
    curves : (2, m) arrays of spatial frequency, 1/Å, and amplitude, for a plot of their own; by name
    compute : where to transform; all CPU cores if None

    Raises
    ------
    OutputError : the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14 if curves and local else 11, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    areas: Any = figure.subfigures(2, 1, height_ratios=[1.0, 1.05])
    plots = iter(np.ravel(areas[0].subplots(1, 1 + bool(curves) + (local is not None))))
    _draw_guinier(next(plots), before, after, compute or cpu())
    if curves:
        _draw_curves(next(plots), curves)
    if local is not None:
        _draw_histogram(next(plots), local)
    _draw_slices(areas[1], after, before.pixel_size_angstrom, local)
    _save(figure, path)


def draw_local(path: Path, half_map: HalfMap, local: Local) -> None:
    """Write a PNG of a local quantity: its histogram, and the map's central slices coloured by it.

    Parameters
    ----------
    path : of the PNG; replaced in one step
    half_map : the map
    local : on its grid

    Raises
    ------
    OutputError : the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    areas: Any = figure.subfigures(2, 1, height_ratios=[0.7, 1.05])
    _draw_histogram(areas[0].subplots(1, 1), local)
    _draw_slices(areas[1], half_map.density, half_map.pixel_size_angstrom, local)
    _save(figure, path)


def coloured_slice(
    density: FloatArray, local: FloatArray | None, limits: tuple[float, float], brightest: float
) -> npt.NDArray[np.float64]:
    """Return the RGB of one slice: brightness is density, colour a local quantity, grey where there is none.

    Parameters
    ----------
    density : (h, w) array
    local : (h, w) array, 0 where there is none; None for a grey slice
    limits : the colour scale's ends
    brightest : the density shown at full brightness

    Returns
    -------
    (h, w, 3) array, 0 to 1
    """
    import matplotlib as mpl

    bright = np.clip(density / brightest, 0.0, 1.0)[..., None]
    grey = np.repeat(bright, 3, axis=-1)
    if local is None:
        return grey
    low, high = limits
    place = np.clip((local - low) / max(high - low, 1e-6), 0.0, 1.0)
    colour = mpl.colormaps[_COLOURS](place)[..., :3] * (_DARKEST + (1 - _DARKEST) * bright)
    return np.where((local != 0)[..., None], colour, grey)


def _draw_guinier(axes: Axes, before: HalfMap, after: FloatArray, compute: Compute) -> None:
    n = before.box
    squared = (np.arange(n // 2 + 1) / (n * before.pixel_size_angstrom)) ** 2
    profiles = [guinier_profile(density, compute) for density in (before.density, after)]
    axes.plot(squared[1:], profiles[0][1:], label="before", color="0.75", linewidth=4)
    axes.plot(squared[1:], profiles[1][1:], label="after", color="C0")
    counted = np.concatenate([p[1:][np.isfinite(p[1:])] for p in profiles])
    if counted.size:  # a cut-off falls by many decades, which would hide the rest
        top = float(counted.max())
        axes.set_ylim(max(float(counted.min()), top - 14) - 0.3, top + 0.5)
    axes.set_title("amplitudes of the whole map", fontsize="medium")
    _finish_guinier(axes, squared[-1])


def _draw_curves(axes: Axes, curves: Mapping[str, FloatArray]) -> None:
    last = 0.0
    for name, (frequency, amplitude) in curves.items():
        shown = (frequency > 0) & (amplitude > 0)
        axes.plot(frequency[shown] ** 2, np.log(amplitude[shown]), label=name)
        last = max(last, float(frequency[-1]) ** 2)
    axes.set_title("mean of the windows", fontsize="medium")
    _finish_guinier(axes, last)


def _finish_guinier(axes: Axes, last: float) -> None:
    """Label a plot against 1/d², which ends at ``last``."""
    axes.set_xlim(0, last)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("squared spatial frequency, 1/Å²")
    axes.set_ylabel("ln amplitude")
    axes.legend(frameon=False)
    upper = axes.secondary_xaxis("top")
    marks = [d for d in (40, 30, 20, 15, 12, 10, 8, 6, 5, 4, 3.5, 3, 2.5, 2, 1.5) if 1 / d**2 <= last]
    spread = _far_apart(marks, last)
    upper.set_xticks([1 / d**2 for d in spread], [f"{d:g}" for d in spread])
    upper.set_xlabel("resolution, Å")


def _far_apart(resolutions: list[float], last: float) -> list[float]:
    """Return the resolutions, finest first, whose marks do not touch on an axis of 1/d² that ends at ``last``."""
    kept: list[float] = []
    for resolution in reversed(resolutions):
        if all(abs(1 / resolution**2 - 1 / other**2) > 0.07 * last for other in kept):
            kept.append(resolution)
    return kept


def _draw_histogram(axes: Axes, local: Local) -> None:
    values = local.known
    counts, edges = np.histogram(values, bins=40)
    axes.bar(edges[:-1], 100 * counts / values.size, np.diff(edges), align="edge", color="C0")
    median = float(np.median(values))
    axes.axvline(median, color="black", linewidth=1)
    told = f"median {median:.3g} {local.unit}".rstrip()
    is_right = median > (edges[0] + edges[-1]) / 2
    place, side = ((-5, 0), "right") if is_right else ((5, 0), "left")
    axes.annotate(told, (median, 0.97), place, ("data", "axes fraction"), "offset points", va="top", ha=side)
    axes.set_xlabel(local.label)
    axes.set_ylabel("voxels, %")


def _draw_slices(area: Any, density: FloatArray, pixel_size_angstrom: float, local: Local | None) -> None:
    n = len(density)
    brightest = max(float(np.percentile(density, BRIGHTEST_PERCENTILE)), 1e-30)
    limits = (0.0, 1.0)
    if local is not None:
        low, high = np.percentile(local.known, [2, 98])
        limits = (float(low), float(max(high, low + 0.1)))
    panels = slice_panels(area, n, pixel_size_angstrom, (n // 2,) * 3)
    half = n * pixel_size_angstrom / 2
    for axis, panel in enumerate(panels):
        middle = None if local is None else np.take(local.values, n // 2, axis)
        image = coloured_slice(np.take(density, n // 2, axis), middle, limits, brightest)
        panel.imshow(image, origin="lower", extent=(-half, half, -half, half), interpolation="nearest")
    if local is not None:
        _draw_colour_scale(area, panels, limits, local.label)


def slice_panels(area: Any, n: int, pixel_size_angstrom: float, at: Sequence[int]) -> list[Axes]:
    """Return three labelled panels side by side, for the slices across z, y and x at some voxels.

    Parameters
    ----------
    area : a figure or part of one
    at : the voxel of each slice; the origin is at voxel n // 2
    """
    panels: list[Axes] = list(area.subplots(1, 3))
    for axis, panel in enumerate(panels):
        rows, columns = (name for name in _AXES if name != _AXES[axis])
        panel.set_xlabel(f"{columns}, Å")
        panel.set_ylabel(f"{rows}, Å")
        panel.set_title(f"{_AXES[axis]} = {(at[axis] - n // 2) * pixel_size_angstrom:.3g} Å", fontsize="medium")
    return panels


def _draw_colour_scale(area: Any, panels: Any, limits: tuple[float, float], label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(*limits), _COLOURS)
    area.colorbar(scale, ax=list(panels), label=label, shrink=0.8, pad=0.02)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)
