"""The scores for people: a picture, and one page of HTML that needs no other file."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from extrecon.fourier.resolution import GOLD_STANDARD
from extrecon.system.files import replacing

Scores = dict[str, Any]
Row = tuple[str, str, str]
_DOTS_PER_INCH = 110
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}}
table{{border-collapse:collapse}}td{{padding:.3em 1em .3em 0;border-bottom:1px solid #ddd}}img{{max-width:100%}}
td:nth-child(2){{white-space:nowrap;font-weight:bold}}</style>
<h1>{title}</h1><p>{inputs}</p><table>{rows}</table>
<p><img alt="Curves" src="data:image/png;base64,{picture}"></p></html>
"""


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
        ("… by direction", directions, "best and worst of 60 directions; alike if views are even"),
    ]
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
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table(scores)
    )
    picture = base64.b64encode(paths[1].read_bytes()).decode()
    inputs = "<br>".join(html.escape(f"{name}: {path}") for name, path in scores["inputs"].items())
    with replacing(paths[2]) as temporary:
        temporary.write_text(
            _PAGE.format(title=html.escape(title), inputs=inputs, rows=cells, picture=picture), "utf-8"
        )
    return paths


def _draw(path: Path, scores: Scores) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    (curves, directions), (guinier, last) = figure.subplots(2, 2)
    frequency = np.arange(scores["box"] // 2 + 1) / (scores["box"] * scores["pixel_size_angstrom"])
    half = scores.get("half_maps", {})
    for name in ("unmasked", "masked", "randomised", "corrected"):
        if name in half:
            curves.plot(frequency, half[name], label=f"half-maps, {name}")
    for name in ("truth", "model"):
        if name in scores:
            curves.plot(frequency, scores[name]["masked"], "--", label=f"with the {name}, masked")
    curves.axhline(GOLD_STANDARD, color="0.6", linewidth=0.8)
    curves.set(xlabel="spatial frequency, 1/Å", ylabel="FSC", ylim=(-0.1, 1.05))
    curves.legend(frameon=False, fontsize="small") if curves.lines[1:] else None
    if half:
        mean, spread = np.array(half["directional_mean"]), np.array(half["directional_sd"])
        directions.fill_between(frequency, mean - spread, mean + spread, alpha=0.3)
        directions.plot(frequency, mean)
    directions.set(xlabel="spatial frequency, 1/Å", ylabel="directional FSC, mean ± SD", ylim=(-0.1, 1.05))
    profile = np.array([np.nan if v is None else v for v in scores["guinier"]["ln_amplitude"]])
    guinier.plot(frequency[1:] ** 2, profile[1:], "o-", markersize=3)
    if wilson := scores["guinier"].get("wilson"):
        ends = np.array([1 / wilson["low_angstrom"] ** 2, 1 / wilson["high_angstrom"] ** 2])
        guinier.plot(ends, wilson["intercept"] - wilson["b_factor"] / 4 * ends, "k--", label="Wilson fit")
        guinier.legend(frameon=False)
    guinier.set(xlabel="squared spatial frequency, 1/Å²", ylabel="ln amplitude")
    _draw_last(last, scores)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


def _draw_last(axes: Any, scores: Scores) -> None:
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
