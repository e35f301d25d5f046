"""The scores for people: a picture, and one page of HTML that needs no other file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extrecon.fourier.resolution import GOLD_STANDARD
from extrecon.pictures import page, plots
from extrecon.pictures.sharpness import draw_sharpness
from extrecon.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Scores = dict[str, Any]
Row = tuple[str, str, str]
_DOTS_PER_INCH = 110


def table(scores: Scores) -> list[Row]:
    """Return what was measured, its value, and what it means, one row each."""
    nyquist = 2 * scores["pixel_size_angstrom"]
    rows = _half_map_rows(scores["half_maps"], scores["regularized_by"], nyquist) if "half_maps" in scores else []
    if wilson := scores["guinier"].get("wilson"):
        rows.append(
            ("Wilson B factor", f"{wilson['b_factor']:.0f} Å²", "how fast amplitudes fall; below 0: sharpened")
        )
    else:
        rows.append(("Wilson B factor", "–", scores["guinier"]["no_wilson_fit"]))
    for name in ("truth", "model"):
        if found := scores.get(name):
            rows += _agreement_rows(name, found, nyquist)
    if model := scores.get("model"):
        rows.append(("Q-score", f"{model['mean_q_score']:.3f}", "mean over residues; 1: every atom is resolved"))
    if support := scores.get("fsc_q"):
        rows += _support_rows(support, scores["regularized_by"])
    if sharp := scores.get("sharpening"):
        rows += _sharpness_rows(sharp)
    for name, part in scores.get("poses", {}).items():
        rows += _pose_rows(name, part)
    if local := scores.get("local_resolution"):
        quartiles = ", ".join(f"{q:.2f}" for q in local["quartiles_angstrom"])
        rows.append(("Local resolution", f"{quartiles} Å", "quartiles over the particle"))
    return rows


def _half_map_rows(half: Scores, regularizers: list[str], nyquist: float) -> list[Row]:
    directions = f"{half['directional_best_angstrom']:.2f}–{half['directional_worst_angstrom']:.2f} Å"
    last = f"last shell before the corrected half-map FSC falls under {GOLD_STANDARD}"
    rows = [
        ("Resolution", _limit(half["resolution_angstrom"], nyquist), last),
        ("… without a mask", _limit(half["unmasked_resolution_angstrom"], nyquist), "the same, whole box"),
        ("… by direction", directions, "best and worst of 60 directions, not corrected for the mask"),
    ]
    shells = len(half["corrected"]) - 1
    if half["last_filled_shell"] < shells:
        ended = nyquist * shells / half["last_filled_shell"]
        rows.append(
            ("The half-maps end", f"{ended:.2f} Å", "where RELION's images ended; finer shells do not count")
        )
    if not regularizers:
        return rows
    warning = (
        f"by {', '.join(regularizers)}: what follows is how alike they are now, which is no resolution; "
        "that is told by the plain half-maps"
    )
    return [("WARNING", "regularized half-maps", warning), *rows]


def _agreement_rows(name: str, found: Scores, nyquist: float) -> list[Row]:
    mean = "mean over the shells between the first and Nyquist, in the mask; 1 is equal"
    half = _limit(found["resolution_at_half_angstrom"], nyquist)
    return [
        (f"FSC with the {name}", f"{found['mean_masked_fsc']:.3f}", mean),
        ("… at 0.5", half, "last shell before it falls under"),
        (f"Correlation with the {name}", f"{found['real_space_correlation']:.3f}", "in the mask, voxel by voxel"),
    ]


def _support_rows(found: Scores, regularizers: list[str]) -> list[Row]:
    meaning = "mean over atoms: local resolution against the model less that of the half-maps; above 0: no support"
    if regularizers:
        meaning = "of regularized half-maps, which agree too well: it says nothing"
    above, below = (f"{100 * found[f'share_{which}']:.1f} %" for which in ("above", "below"))
    relative = f"{found['mean_relative']:+.2f}"
    return [
        ("FSC-Q", f"{found['mean_angstrom']:+.2f} Å", meaning),
        ("… of the local resolution", relative, "mean FSC-Q_r; a perfect model is somewhat below 0"),
        ("Atoms above 0.5 Å, below −0.5 Å", f"{above}, {below}", "not supported there; closer than the halves"),
    ]


def _sharpness_rows(found: Scores) -> list[Row]:
    allowed, looks = found["allowed_angstrom"], found["looks_angstrom"]
    by = "the same by MonoRes" if allowed == found["signal"]["percentile_angstrom"] else "half-map FSC of 0.143"
    b = "–" if found["b_factor"] is None else f"{found['b_factor']:.0f} Å²"
    why = "to apply to the unsharpened map: there the two agree"
    if found["b_factor"] is None:
        looks_finer = found["swept"][0]["percentile_angstrom"] < allowed
        why = "none: the unsharpened map looks finer already" if looks_finer else "none that was tried suits it"
    applied = found.get("applied_b_factor")
    rows = [] if applied is None else [("B factor applied", f"{applied:.0f} Å²", "nearest to what was done to it")]
    return [
        ("Looks like", f"{looks:.2f} Å", "the finest fifth of the particle, by DeepRes"),
        ("… while its signal allows", f"{allowed:.2f} Å", f"{by}; what looks finer is oversharpened"),
        *rows,
        ("B factor that suits it", b, why),
    ]


def _pose_rows(name: str, part: Scores) -> list[Row]:
    angle, aligned = part["median_angle_degrees"], part["median_angle_without_drift_degrees"]
    drift = f"{part['drift_degrees']:.2f}°, {np.linalg.norm(part['drift_angstrom']):.2f} Å"
    return [
        (f"Angular error, {name}", f"{angle:.2f}°", "median, against the truth"),
        ("… without drift", f"{aligned:.2f}°", "after turning the whole set back"),
        ("Shift error, … without drift", f"{part['median_shift_without_drift_angstrom']:.2f} Å", "median"),
        (f"Drift of {name}", drift, "turn and shift of the whole set; does no harm by itself"),
    ]


def _limit(angstrom: float, nyquist: float) -> str:
    """Return a resolution in words; one at Nyquist is only what the voxels could show."""
    return f"{angstrom:.2f} Å" + (" (Nyquist)" if abs(angstrom - nyquist) < 1e-3 * nyquist else "")


def write_report(folder: Path, scores: Scores, title: str) -> list[Path]:
    """Write ``validation.json``, ``validation.png`` and ``validation.html`` into a folder that is there."""
    paths = [folder / f"validation.{kind}" for kind in ("json", "png", "html")]
    with replacing(paths[0]) as temporary:
        temporary.write_text(json.dumps(scores, indent=1, ensure_ascii=False) + "\n", "utf-8")
    _draw(paths[1], scores)
    found = scores["warnings"]
    inputs = page.table([(name, str(path)) for name, path in scores["inputs"].items()], kind="pairs")
    page.write_page(
        paths[2],
        title,
        page.element("h1", title),
        page.alert("warn", page.element("b", "Warnings"), page.listing(found)) if found else page.Html(""),
        page.section("Scores", page.table(table(scores), ("score", "value", "meaning"), "scores")),
        page.section("Curves", page.element("div", *_plots(scores), class_="plots")),
        page.section("Made from", inputs),
    )
    return paths


def _plots(scores: Scores) -> Iterator[page.Html]:
    """Yield each panel of the picture as a plot of the page."""
    for name, description, draw in _PANELS:

        def panel(figure: Figure, draw: _Panel = draw) -> None:
            draw(figure.subplots(), scores)
            figure.subplots_adjust(left=0.17, right=0.97, bottom=0.16, top=0.96)

        if _has_what_it_needs(name, scores):
            yield plots.plot(name, description, 3.2, panel, description)


def _has_what_it_needs(panel: str, scores: Scores) -> bool:
    needs = _NEEDS.get(panel, ())
    return not needs or any(part in scores for part in needs)


def _draw(path: Path, scores: Scores) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [draw for name, _, draw in _PANELS if _has_what_it_needs(name, scores)]
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(11, 3.75 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    places = np.ravel(figure.subplots(rows, 2))
    for axes, draw in zip(places, panels, strict=False):
        draw(axes, scores)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


def _frequency(scores: Scores) -> Any:
    """Return each shell's spatial frequency, 1/Å."""
    return np.arange(scores["box"] // 2 + 1) / (scores["box"] * scores["pixel_size_angstrom"])


def _draw_curves(axes: Axes, scores: Scores) -> None:
    half = scores.get("half_maps", {})
    for name in ("unmasked", "masked", "randomised", "corrected"):
        if name in half:
            axes.plot(_frequency(scores), half[name], label=f"half-maps, {name}")
    for name in ("truth", "model"):
        if name in scores:
            axes.plot(_frequency(scores), scores[name]["masked"], "--", label=f"with the {name}, masked")
    axes.axhline(GOLD_STANDARD, color="0.6", linewidth=0.8)
    opposite = min((min(scores[name]["masked"]) for name in ("truth", "model") if name in scores), default=0.0)
    axes.set(xlabel="spatial frequency, 1/Å", ylabel="FSC", ylim=(min(-0.1, opposite - 0.05), 1.05))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def _draw_directions(axes: Axes, scores: Scores) -> None:
    if half := scores.get("half_maps", {}):
        mean, spread = np.array(half["directional_mean"]), np.array(half["directional_sd"])
        axes.fill_between(_frequency(scores), mean - spread, mean + spread, alpha=0.3)
        axes.plot(_frequency(scores), mean)
    axes.set(xlabel="spatial frequency, 1/Å", ylabel="directional FSC, mean ± SD", ylim=(-0.1, 1.05))


def _draw_guinier(axes: Axes, scores: Scores) -> None:
    profile = np.array([np.nan if v is None else v for v in scores["guinier"]["ln_amplitude"]])
    axes.plot(_frequency(scores)[1:] ** 2, profile[1:], "o-", markersize=3)
    if wilson := scores["guinier"].get("wilson"):
        ends = np.array([1 / wilson["low_angstrom"] ** 2, 1 / wilson["high_angstrom"] ** 2])
        axes.plot(ends, wilson["intercept"] - wilson["b_factor"] / 4 * ends, "k--", label="Wilson fit")
        axes.legend(frameon=False)
    axes.set(xlabel="squared spatial frequency, 1/Å²", ylabel="ln amplitude")


def _draw_last(axes: Axes, scores: Scores) -> None:
    """Draw the local resolution's histogram, or else the residues' Q-scores, or nothing."""
    if local := scores.get("local_resolution"):
        edges = np.array(local["edges_angstrom"])
        axes.bar(edges[:-1], local["counts"], np.diff(edges), align="edge")
        axes.set(xlabel="local resolution, Å", ylabel="voxels")
    elif model := scores.get("model"):
        axes.plot([found for *_, found in model["residue_q_scores"]], linewidth=0.8)
        axes.set(xlabel="residue", ylabel="Q-score")
    else:
        axes.set_axis_off()


def _draw_support(axes: Axes, scores: Scores) -> None:
    found = scores["fsc_q"]
    edges = np.array(found["edges_angstrom"])
    axes.bar(edges[:-1], found["counts"], np.diff(edges), align="edge")
    for limit in (-0.5, 0.5):
        axes.axvline(limit, color="0.6", linewidth=0.8)
    axes.set(xlabel="FSC-Q, Å", ylabel="atoms")


def _draw_sharpness(axes: Axes, scores: Scores) -> None:
    draw_sharpness(axes, scores["sharpening"])


_Panel = Callable[["Axes", Scores], None]
_PANELS: tuple[tuple[str, str, _Panel], ...] = (
    ("curves", "Fourier shell correlations", _draw_curves),
    ("directions", "Half-map FSC over directions", _draw_directions),
    ("guinier", "Guinier plot", _draw_guinier),
    ("last", "Local resolution or Q-scores", _draw_last),
    ("support", "FSC-Q of the atoms", _draw_support),
    ("sharpness", "How fine it looks, and what its signal allows", _draw_sharpness),
)
_NEEDS = {
    "curves": ("half_maps", "truth", "model"),
    "directions": ("half_maps",),
    "last": ("local_resolution", "model"),
    "support": ("fsc_q",),
    "sharpness": ("sharpening",),
}
"""Which of the scores a panel of the page needs, any one of them."""
