"""What a comparison found: a table with spreads, paired differences, a page, a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extrecon.compare.baseline import Score, arms_of, reference_arm, relion_options, to_beat
from extrecon.compare.scoring import PERCENTS
from extrecon.system.files import replacing

FORMATS = ("json", "md", "png")
_DOTS_PER_INCH = 120
_SHOWN_PERCENT = 90


@dataclass(frozen=True)
class Column:
    """One score of the table: its key, its heading with unit, digits, and which way is better (+1, −1, 0)."""

    key: str
    heading: str
    digits: int
    better: int


COLUMNS = (
    Column("median_error_degrees", "median angular error, °", 3, -1),
    Column("median_shift_error_angstrom", "median shift error, Å", 3, -1),
    Column("mean_fsc", "mean FSC with the truth", 4, 1),
    Column("truth_resolution_angstrom", "FSC 0.5 with the truth, Å", 2, -1),
    Column("resolution_angstrom", "RELION's resolution, Å", 2, -1),
    Column("mean_q_score", "mean Q-score", 4, 1),
    Column("iterations", "iterations", 1, 0),
    Column("regularized", "regularized calls", 1, 0),
    Column("wall_seconds", "s a run", 0, 0),
    Column("cpu_seconds", "CPU s", 0, 0),
    Column("peak_memory_mb", "peak memory, MB", 0, 0),
)


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds; the latter is None for a single seed."""

    mean: float
    sd: float | None
    seeds: int

    def text(self, digits: int, *, signed: bool = False) -> str:
        """Return mean ± standard deviation."""
        mean = f"{self.mean:{'+' if signed else ''}z.{digits}f}"  # z: no minus before a zero
        return mean if self.sd is None else f"{mean} ± {self.sd:.{digits}f}"


def spread_of(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), sd, len(values))


def spreads(scores: Sequence[Score], arm: str) -> dict[str, Spread]:
    """Return the spread of each score of an arm that all its runs have."""
    runs = [score for score in scores if score["arm"] == arm]
    return {c.key: spread_of([run[c.key] for run in runs]) for c in COLUMNS if _all_have(runs, c.key)}


def paired_differences(scores: Sequence[Score], arm: str, first: str) -> dict[str, Spread]:
    """Return the spread of an arm's scores less those of another, ``first``, with the same seed.

    A seed also decides how the particles are split into halves, so that runs of one seed differ by the arm alone.
    """
    by_seed = {score["seed"]: score for score in scores if score["arm"] == first}
    pairs = [
        (score, by_seed[score["seed"]]) for score in scores if score["arm"] == arm and score["seed"] in by_seed
    ]
    told = {}
    for column in COLUMNS:
        if column.better and _all_have([run for pair in pairs for run in pair], column.key):
            told[column.key] = spread_of([run[column.key] - plain[column.key] for run, plain in pairs])
    return told


def _all_have(runs: Sequence[Score], key: str) -> bool:
    return bool(runs) and all(key in run and np.isfinite(run[key]) for run in runs)


def warnings(scores: Sequence[Score]) -> list[str]:
    """Return what must be known before the table is believed."""
    told = []
    for score in scores:
        where = f"{score['arm']}, seed {score['seed']}"
        if score["fallbacks"]:
            told.append(f"{where}: the regularizer failed in {score['fallbacks']} calls; RELION got the plain map")
        if score["calls_hook"] and not score["calls"]:
            told.append(f"{where}: RELION never called extrecon-hook; nothing was regularized")
        if score["calls_hook"] and score["calls"] and not score["regularized"]:
            told.append(f"{where}: no call was regularized; its records (…_extrecon.json) say why")
        if unknown := score.get("options_unknown_to_relion"):
            told.append(f"{where}: RELION does not know {', '.join(unknown)}, and went on without")
    return told


def rows(scores: Sequence[Score], order: Sequence[str]) -> list[list[str]]:
    """Return the table, headings first: a row of means for each arm, below it one of differences to the best."""
    arms, best = arms_of(scores, order), reference_arm(scores, order)
    found = {arm: spreads(scores, arm) for arm in arms}
    columns = [column for column in COLUMNS if any(column.key in found[arm] for arm in arms)]
    told = [["arm", "seeds", *(column.heading for column in columns)]]
    for arm in arms:
        seeds = sum(score["arm"] == arm for score in scores)
        told.append([arm, str(seeds), *_cells(found[arm], columns)])
        if arm != best and (differences := paired_differences(scores, arm, best)):
            pairs = max(each.seeds for each in differences.values())
            told.append([f"{arm} − {best}", str(pairs), *_cells(differences, columns, signed=True)])
    return told


def _cells(found: dict[str, Spread], columns: Sequence[Column], *, signed: bool = False) -> list[str]:
    return [found[c.key].text(c.digits, signed=signed) if c.key in found else "" for c in columns]


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table, headings first, as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def write_report(
    folder: Path, scores: Sequence[Score], order: Sequence[str], title: str, mask: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write ``comparison.json``, ``comparison.md`` and ``comparison.png``, and return their paths.

    Parameters
    ----------
    mask : of the mask that the comparison made: its facts, and a sentence for people, ``told``
    """
    paths = [folder / f"comparison.{kind}" for kind in FORMATS]
    best = reference_arm(scores, order)
    told = {
        "arms": {arm: _plain(spreads(scores, arm)) for arm in arms_of(scores, order)},
        "to_beat": to_beat(scores, order),
        "paired_differences_to": best,
        "paired_differences": {
            arm: _plain(paired_differences(scores, arm, best)) for arm in arms_of(scores, order) if arm != best
        },
        "made_mask": mask,
        "warnings": warnings(scores),
        "runs": [{key: value for key, value in score.items() if key != "validation"} for score in scores],
    }
    with replacing(paths[0]) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n")
    with replacing(paths[1]) as temporary:
        temporary.write_text(_page(scores, order, title, paths[2].name, mask))
    draw(paths[2], scores, order)
    return paths


def _plain(found: dict[str, Spread]) -> dict[str, Any]:
    return {key: vars(spread) for key, spread in found.items()}


def _page(
    scores: Sequence[Score], order: Sequence[str], title: str, picture: str, mask: Mapping[str, Any] | None
) -> str:
    notes = [f"**{note}**" for note in warnings(scores)]
    notes += [
        f"{arm} gives RELION `{' '.join(options)}`."
        for arm in arms_of(scores, order)
        if (options := relion_options(scores, arm))
    ]
    notes += [mask["told"]] if mask else []
    listed = "".join(f"\n- {note}" for note in notes)
    best = reference_arm(scores, order)
    return f"""# {title}

{to_beat(scores, order)}

{markdown(rows(scores, order))}

Mean ± standard deviation over the seeds; below an arm, its difference to {best} run by run with the same seed.
Angles and shifts are those within each half-set, freed of its common turn and shift. The FSC is that of the final,
joined map with the true map under the mask. Memory is the largest sum of resident sizes.
{listed}

![Angular errors and FSC with the truth]({picture})
"""


def draw(path: Path, scores: Sequence[Score], order: Sequence[str]) -> None:
    """Draw the angular errors' distribution and the FSC with the truth, by arm; bands are from seed to seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    errors, curves = figure.subplots(1, 2)
    arms = arms_of(scores, order)
    for index, arm in enumerate(arms):
        runs = [score for score in scores if score["arm"] == arm]
        angles = np.array([run["error_percentiles_degrees"] for run in runs])
        colour = f"C{index % 10}"
        errors.plot(angles.mean(axis=0), PERCENTS, color=colour, label=arm)
        errors.fill_betweenx(PERCENTS, angles.min(axis=0), angles.max(axis=0), color=colour, alpha=0.2)
        fsc = np.array([run["fsc"] for run in runs])
        frequency = np.arange(fsc.shape[1]) / (runs[0]["box"] * runs[0]["pixel_size_angstrom"])
        curves.plot(frequency, fsc.mean(axis=0), color=colour, label=arm)
        curves.fill_between(frequency, fsc.min(axis=0), fsc.max(axis=0), color=colour, alpha=0.2)
    # A few particles go far astray: shown to the last one, they would press the rest together.
    most = 1.5 * max(
        [1e-3, *(score["error_percentiles_degrees"][PERCENTS.index(_SHOWN_PERCENT)] for score in scores)]
    )
    errors.set(xlabel="angular error, °", ylabel="particles, %", xlim=(0, most), ylim=(0, 100))
    curves.axhline(0.5, color="0.6", linewidth=0.8)
    curves.set(xlabel="spatial frequency, 1/Å", ylabel="FSC with the truth", ylim=(-0.1, 1.05))
    errors.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)
