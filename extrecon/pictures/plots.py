"""Plots as SVG inside a page: their colours are the page's, so that one drawing serves light and dark.

Matplotlib is imported when a plot is drawn, not before; no display is needed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from extrecon.pictures.page import Html, element

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 4.2
"""About a phone's screen, or half a laptop's: the page shows a plot at about this size, so its text is readable."""

# Colours that matplotlib can be told, and what stands in their place in the page.
INK, SOFT, FAINT = "#000000", "#0000a0", "#0000a1"
HALF_1, HALF_2, JOINED = "#0000a2", "#0000a3", "#0000a4"
GOOD_FILL, BAD_FILL, BAD = "#0000a5", "#0000a6", "#0000a7"
STAGES = tuple(f"#0000b{n}" for n in range(8))
_VARIABLES = {
    SOFT: "soft",
    FAINT: "faint",
    HALF_1: "half1",
    HALF_2: "half2",
    JOINED: "joined",
    GOOD_FILL: "good-fill",
    BAD_FILL: "bad-fill",
    BAD: "bad",
    **{colour: f"stage{n}" for n, colour in enumerate(STAGES)},
}
_MARKS = (100, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.8, 2.6, 2.4, 2.2, 2, 1.8, 1.6, 1.4, 1.2, 1.0)
_LEAST_GAP = 0.1  # of the axis, between two marks


def plot(
    name: str, description: str, height_inches: float, draw: Callable[[Figure], None], caption: str = ""
) -> Html:
    """Return a figure for a page.

    Parameters
    ----------
    name : one word, another for each plot of a page: what SVG names in it begins with that
    description : for who cannot see it
    draw : draws into an empty figure, with the colours of this module
    caption : below it
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": name,
        "font.size": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.fontsize": 9.0,
        "text.parse_math": False,  # a name may hold a $
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH_INCHES, height_inches))
        FigureCanvasSVG(figure)
        draw(figure)
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    drawing = _for_a_page(text.getvalue(), description)
    return element("figure", drawing, *([element("figcaption", caption)] if caption else []))


def _for_a_page(svg: str, description: str) -> Html:
    """Return matplotlib's SVG as an element of a page, without what belongs to a file of its own."""
    inner = svg[svg.index("<svg") :]
    view = re.search(r'viewBox="([^"]*)"', inner)
    body = inner[inner.index(">") + 1 : inner.rindex("</svg>")]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)  # the same in every plot
    body = re.sub(r"font-family: [^;\"]*(; )?", "", body)
    body = re.sub(r"\s*\n\s*", " ", body).replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    body = body.replace(INK, "currentColor")
    box = view[1] if view else ""
    return element("svg", Html(body), class_="plot", viewBox=box, role="img", aria_label=description)


def resolution_axis(axes: Axes, finest_per_angstrom: float) -> None:
    """Mark an axis of spatial frequency, 1/Å, that ends at ``finest_per_angstrom`` with resolutions, Å."""
    kept: list[float] = []
    for mark in reversed(_MARKS):
        gap = _LEAST_GAP * finest_per_angstrom
        if 1 / mark <= finest_per_angstrom and all(abs(1 / mark - 1 / other) > gap for other in kept):
            kept.append(mark)
    axes.set_xticks([1 / mark for mark in kept], [f"{mark:g}" for mark in kept])
    axes.set_xlim(0, finest_per_angstrom)


def legend_above(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, where it hides nothing."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=columns,
            borderaxespad=0.1,
            columnspacing=1.1,
            handlelength=1.4,
            handletextpad=0.5,
        )
