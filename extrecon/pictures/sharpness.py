"""How sharp a map looks beside what its signal allows: histograms, one above the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 0.9
_QUANTILE_SHOWN = 0.995


def draw_sharpness(axes: Axes, told: Mapping[str, Any]) -> None:
    """Draw figure 5 of Ramírez-Aportela et al. 2019: local resolution by signal, of the map, and over B factors.

    The upright line is the 20th percentile of what the signal allows; a mark on each histogram is its own.

    Parameters
    ----------
    told : what `extrecon.validate.sharpening.Sharpening.told` gives
    """
    edges = np.array(told["edges_angstrom"])
    rows = [("signal", told["signal"], "0.45"), ("the map", told["map"], "C0")]
    rows += [(f"low-passed to {told['low_pass_angstrom']:.1f} Å", told["low_passed"], "C0")]
    rows += [(f"B {each['b_factor']:.0f} Å²", each, "C1") for each in told["swept"]]
    for place, (_, each, colour) in enumerate(rows):
        counts = np.array(each["counts"], dtype=float)
        heights = _HEIGHT * counts / max(counts.max(), 1.0)
        axes.stairs(heights - place, edges, baseline=-place, fill=True, alpha=0.45, color=colour)
        mark = float(each["percentile_angstrom"])
        axes.plot([mark, mark], [-place, _HEIGHT - place], color=colour, linewidth=1.6)
    allowed = told["allowed_angstrom"]
    axes.axvline(allowed, color="C3", linewidth=1.0, label=f"the finest fifth may look like {allowed:.1f} Å")
    axes.legend(frameon=False, loc="upper right", fontsize=8)
    axes.set_yticks([-place for place in range(len(rows))], [name for name, *_ in rows])
    axes.set(xlabel="local resolution, Å", xlim=_range(edges, rows), ylim=(-len(rows) + 0.9, 1.6))


def _range(edges: np.ndarray, rows: list[tuple[str, Mapping[str, Any], str]]) -> tuple[float, float]:
    """Return between where nearly all of every histogram lies."""
    shares = [np.array(each["counts"], float) / max(sum(each["counts"]), 1) for _, each, _ in rows]
    passed = np.cumsum(np.sum(shares, axis=0)) / len(rows)
    first, last = np.searchsorted(passed, [1 - _QUANTILE_SHOWN, _QUANTILE_SHOWN])
    return float(edges[max(int(first) - 1, 0)]), float(edges[min(int(last) + 2, len(edges) - 1)])
