"""What a comparison found: a table with spreads, paired differences, a page, a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from extrecon.compare.baseline import Score, arms_of, paired_by_seed, reference_arm, relion_options, to_beat
from extrecon.compare.columns import BY_KEY, COLUMNS, Column, all_have, ranked_by
from extrecon.compare.curves import draw
from extrecon.compare.final_maps import draw_final_maps
from extrecon.compare.held_out import paired_difference
from extrecon.compare.start import COMMON_START
from extrecon.system.files import replacing

FORMATS = ("json", "md", "png")
_SCORES_BESIDE = 7
_TOO_LONG = ("validation", "held_out_nats_each")  # each run's score.json has them


@dataclass(frozen=True)
class Facts:
    """What a report tells beside the scores.

    Attributes
    ----------
    mask : of the mask that the comparison made to refine under: its facts, and a sentence for people, ``told``
    notes : sentences for people
    failures : why runs failed, by their labels
    """

    mask: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    failures: Mapping[str, str] = field(default_factory=dict)


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
    return {c.key: spread_of([run[c.key] for run in runs]) for c in COLUMNS if all_have(runs, c.key)}


def paired_differences(scores: Sequence[Score], arm: str, first: str) -> dict[str, Spread]:
    """Return the spread of an arm's scores less those of another, ``first``, with the same seed.

    A seed also decides how the particles are split into halves, so that runs of one seed differ by the arm alone.
    """
    pairs = paired_by_seed(scores, arm, first)
    told = {}
    for column in COLUMNS:
        if column.better and all_have([run for pair in pairs for run in pair], column.key):
            told[column.key] = spread_of([run[column.key] - plain[column.key] for run, plain in pairs])
    return told


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


def verdicts(scores: Sequence[Score], order: Sequence[str]) -> list[str]:
    """Return a sentence for each arm beside the one to beat: how it differs in what the arms are ranked by."""
    best, key = reference_arm(scores, order), ranked_by(scores)
    column = BY_KEY[key]
    told = []
    for arm in arms_of(scores, order):
        found = paired_differences(scores, arm, best).get(key) if arm != best else None
        if found is None:
            continue
        difference = found.text(column.digits, signed=True)
        certain = "; ".join([_seeds_told(found), *_particles_told(scores, arm, best, key)])
        others = "".join(f"; {other}" for other in _by_others(scores, arm, best, key))
        told.append(f"{arm} {_word(found, column)} {best} by {column.heading}: {difference} ({certain}){others}.")
    return told


_FROM_OUTSIDE = ("mean_fsc", "held_out_nats_at_best_filter", "mean_model_fsc", "mean_reference_fsc")


def _word(found: Spread, column: Column) -> str:
    if found.sd is not None and abs(found.mean) <= found.sd:
        return "cannot be told from"
    gain = round(found.mean, column.digits) * column.better
    return "is better than" if gain > 0 else "is worse than" if gain < 0 else "is the same as"


def _by_others(scores: Sequence[Score], arm: str, best: str, key: str) -> list[str]:
    """Return the difference by what else comes from outside: no half-map knows it."""
    found = paired_differences(scores, arm, best)
    columns = (BY_KEY[other] for other in _FROM_OUTSIDE if other != key and other in found)
    return [f"by {c.heading} {found[c.key].text(c.digits, signed=True)}" for c in columns]


def _particles_told(scores: Sequence[Score], arm: str, best: str, key: str) -> list[str]:
    """Return how sure a difference is of which particles were held out; nothing of other scores."""
    each = "held_out_nats_each"
    if key != "held_out_nats":
        return []
    known = [score for score in scores if each in score]
    pairs = [(run[each], first[each]) for run, first in paired_by_seed(known, arm, best)]
    if not pairs:
        return []
    first, second = (np.mean(nats, axis=0) for nats in zip(*pairs, strict=True))
    return [f"standard error over the particles {paired_difference(first, second)[1]:.3f}"]


def _seeds_told(spread: Spread) -> str:
    if spread.sd is None:
        return "one seed, so that it may be luck"
    if abs(spread.mean) <= spread.sd:
        return f"{spread.seeds} seeds, which differ by more than that"
    return f"{spread.seeds} seeds"


def _cells(found: dict[str, Spread], columns: Sequence[Column], *, signed: bool = False) -> list[str]:
    return [found[c.key].text(c.digits, signed=signed) if c.key in found else "" for c in columns]


def narrow(table: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    """Return a table as several: the same arms and seeds, and no more scores than can be read beside each other."""
    first, count = 2, len(table[0])
    parts = np.array_split(np.arange(first, count), max(1, -(-(count - first) // _SCORES_BESIDE)))
    return [[[*row[:first], *(row[place] for place in part)] for row in table] for part in parts]


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table, headings first, as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def write_report(
    folder: Path, scores: Sequence[Score], order: Sequence[str], title: str, facts: Facts
) -> list[Path]:
    """Write ``comparison.json``, ``comparison.md`` and, if any run has a score, pictures; return their paths."""
    paths = [folder / f"comparison.{kind}" for kind in FORMATS]
    told = {
        **(_compared(scores, order) if scores else {}),
        "made_mask": facts.mask,
        "notes": list(facts.notes),
        "failures": dict(facts.failures),
        "warnings": warnings(scores),
        "runs": [{key: value for key, value in score.items() if key not in _TOO_LONG} for score in scores],
    }
    with replacing(paths[0]) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n")
    maps = draw_final_maps(folder, scores, order)
    pictures = [path.name for path in (paths[2], *maps)]
    with replacing(paths[1]) as temporary:
        temporary.write_text(_page(scores, order, title, pictures, facts))
    if not scores:
        return paths[:2]
    draw(paths[2], scores, order)
    return [*paths, *maps]


def _compared(scores: Sequence[Score], order: Sequence[str]) -> dict[str, Any]:
    best, arms = reference_arm(scores, order), arms_of(scores, order)
    return {
        "arms": {arm: _plain(spreads(scores, arm)) for arm in arms},
        "to_beat": to_beat(scores, order),
        "verdicts": verdicts(scores, order),
        "paired_differences_to": best,
        "paired_differences": {arm: _plain(paired_differences(scores, arm, best)) for arm in arms if arm != best},
    }


def _plain(found: dict[str, Spread]) -> dict[str, Any]:
    return {key: vars(spread) for key, spread in found.items()}


def _page(scores: Sequence[Score], order: Sequence[str], title: str, pictures: Sequence[str], facts: Facts) -> str:
    notes = [f"**{note}**" for note in warnings(scores)]
    notes += [
        f"{arm} gives RELION `{' '.join(options)}`."
        for arm in arms_of(scores, order)
        if (options := relion_options(scores, arm))
    ]
    notes += begins_told(scores, order)
    notes += [facts.mask["told"]] if facts.mask else []
    notes += facts.notes
    listed = "".join(f"\n- {note}" for note in notes)
    failed = "".join(f"\n## {label} failed\n\n```\n{why}\n```\n" for label, why in facts.failures.items())
    if not scores:
        return f"# {title}\n\nNo run has a score.\n{listed}\n{failed}"
    best = reference_arm(scores, order)
    sentences = "\n".join([to_beat(scores, order), *verdicts(scores, order)])
    tables = "\n\n".join(markdown(each) for each in narrow(rows(scores, order)))
    meaning, curves = _OF_THE_TRUTH, "Angular errors and FSC with the truth"
    if not all_have(scores, "median_error_degrees"):
        reach = max((score.get("means_up_to_angstrom", 0.0) for score in scores), default=0.0)
        meaning, curves = _WITHOUT_TRUTH.format(reach=reach), "FSC curves"
    meanings = (curves, "Final maps, side by side")
    shown = "\n\n".join(f"![{what}]({name})" for what, name in zip(meanings, pictures, strict=False))
    return f"""# {title}

{sentences}

{tables}

Mean ± standard deviation over the seeds; below an arm, its difference to {best} run by run with the same seed.
{meaning} Memory is the largest sum of resident sizes.
{listed}

{shown}
{failed}"""


_OF_THE_TRUTH = (
    "Angles and shifts are those within each half-set, freed of its common turn and shift. The FSC is that of the "
    "final,\njoined map with the true map under the mask."
)
_WITHOUT_TRUTH = (
    "The scored map is the final, joined one, and the half-maps are the unfiltered ones:\n"
    "neither is regularized in any arm. The corrected resolution is where the half-map FSC under the mask, freed\n"
    "of what randomised phases show, falls under 0.143. Means of FSC curves go up to {reach:.2f} Å in all arms."
)


def begins_told(scores: Sequence[Score], order: Sequence[str]) -> list[str]:
    """Return which arms go on from the common start, and why the others do not."""
    begins = {score["arm"]: score["begins"] for score in scores if "begins" in score}
    common = [arm for arm in arms_of(scores, order) if begins.get(arm) == COMMON_START]
    alone = [f"{arm} begins with {why}." for arm, why in begins.items() if why != COMMON_START]
    if alone and common:
        alone.append(
            "RELION draws other random numbers when it goes on, so that an arm that begins otherwise than "
            f"{', '.join(common)} differs from it by luck too, as another seed would."
        )
    if common:
        told = f"One global search a seed, with RELION's own program, was the start of {', '.join(common)}; "
        alone.insert(0, f"{told}times are without it.")
    return alone
