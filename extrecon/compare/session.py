"""A whole comparison: what is done is kept, the rest is run, failures are told, the report is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extrecon.compare.arms import PLAIN
from extrecon.compare.columns import with_common_means
from extrecon.compare.dataset import refuse_spaces
from extrecon.compare.engines import Engine, Outcome, Tick
from extrecon.compare.judge import Judge
from extrecon.compare.lock import alone_in
from extrecon.compare.made_mask import made_mask
from extrecon.compare.report import Facts, write_report
from extrecon.compare.rounds import Outcomes, Plan
from extrecon.compare.runs import Run, finished, finished_beside
from extrecon.compare.start import Start
from extrecon.compare.unseen import Poses, Unseen
from extrecon.errors import UsageError
from extrecon.system.files import replacing

FAILURE = "failure.json"
Score = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What a comparison came to.

    Attributes
    ----------
    scores : of all runs that are done, in the order of the runs, and of earlier ones in the folder
    failures : of the others
    files : the report; empty if no run has a score
    order : all arms, as the report has them
    """

    scores: list[Score]
    failures: list[Outcome]
    files: list[Path]
    order: list[str]


def compare(
    runs: Sequence[Run],
    engine: Engine,
    output: Path,
    title: str,
    *,
    judge: Judge | None = None,
    redo: bool = False,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    tick: Tick = lambda: None,
) -> Result:
    """Do the runs that are not done yet, and report on all, earlier ones of other arms and seeds included.

    Runs that are scored by the truth are reported each as it ends: a comparison takes days, and may be stopped.

    Parameters
    ----------
    output : folder of the comparison, which must be there
    judge : how runs are scored without a truth; None where each refinement is scored against it at once
    redo : replace finished runs that were made in another way; else they are refused
    on_outcome : told each task that ends
    tick : called about twice a second meanwhile

    Raises
    ------
    UsageError : another comparison works in the folder, or a finished run was made in another way.
    """
    refuse_spaces(output.resolve())
    with alone_in(output):
        kept = {run.folder: _kept(run, redo=redo) for run in runs}
        plan = Plan(engine, tick, runs, kept, output, judge)
        beside = finished_beside(runs, output)

        def on_run(outcome: Outcome) -> None:
            on_outcome(outcome)
            if judge is None and outcome.score is not None and None in kept.values():
                # What cannot be written now, on a full disk say, must not end the runs; the last report will tell.
                with suppress(OSError):
                    _report_so_far(runs, _scored(runs, kept), beside, output, title)

        failures = _done(plan.outcomes(), kept, on_run)
        if judge is None:
            scores = [*_scored(runs, kept), *beside]
        else:
            names = {run.folder: run.label for run in runs if kept[run.folder] is not None}
            names |= {output / f"{one['arm']}_{one['seed']}": f"{one['arm']}, seed {one['seed']}" for one in beside}
            scorings = judge.scorings(names, output)
            failures |= _done(plan.scored([s for s in scorings if s.folder not in kept]), {}, on_outcome)
            scores = with_common_means([score for each in scorings if (score := each.kept()) is not None])
        order = _order(runs, scores)
        _keep_failures(failures, runs[0].recipe_fingerprint)
        facts = _facts(runs, judge, output, scores)
        files = write_report(output, scores, order, title, facts) if scores or facts.failures else []
        return Result(scores, list(failures.values()), files, order)


def _scored(runs: Sequence[Run], kept: Mapping[Path, Score | None]) -> list[Score]:
    return [score for run in runs if (score := kept[run.folder]) is not None]


def _report_so_far(
    runs: Sequence[Run], done: Sequence[Score], beside: Sequence[Score], output: Path, title: str
) -> None:
    scores = [*done, *beside]
    facts = _facts(runs, None, output, scores)
    facts = replace(facts, notes=[f"**{len(done)} of {len(runs)} runs are done so far.**"])
    write_report(output, scores, _order(runs, scores), title, facts)


def _done(outcomes: Outcomes, kept: dict[Path, Any], on_outcome: Callable[[Outcome], None]) -> dict[Path, Outcome]:
    """Do tasks, put what is known of refinements where it is kept, and return those that failed, by their folders.

    What others wait for, if it failed, is told by each of them.
    """
    failures = {}
    with closing(outcomes):
        for outcome in outcomes:
            if isinstance(outcome.run, Run):
                kept[outcome.run.folder] = outcome.score
            if outcome.score is None and not isinstance(outcome.run, Start | Poses | Unseen):
                failures[outcome.run.folder] = outcome
            on_outcome(outcome)
    return failures


def _order(runs: Sequence[Run], scores: Sequence[Score]) -> list[str]:
    """Return the arms as the report has them: those of this comparison, then earlier ones, plain first."""
    asked = [run.arm.name for run in runs]
    order = list(dict.fromkeys([*asked, *(score["arm"] for score in scores)]))
    if PLAIN in order and PLAIN not in asked:
        order = [PLAIN, *(name for name in order if name != PLAIN)]
    return order


def _facts(runs: Sequence[Run], judge: Judge | None, output: Path, scores: Sequence[Score]) -> Facts:
    recipe = runs[0].recipe_fingerprint
    done = {f"{score['arm']}, seed {score['seed']}" for score in scores}
    failures = {label: why for label, why in _failures(output, recipe).items() if label not in done}
    notes = [] if judge is None else judge.notes(output)
    return Facts(made_mask(output, recipe), notes, failures)


def _keep_failures(failures: Mapping[Path, Outcome], recipe: str) -> None:
    """Keep why runs failed, for the reports to come, until they are done."""
    for folder, outcome in failures.items():
        folder.mkdir(exist_ok=True)
        told = {"label": outcome.run.label, "error": outcome.error, "recipe": recipe}
        with replacing(folder / FAILURE) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n")


def _failures(output: Path, recipe: str) -> dict[str, str]:
    found = {}
    for path in sorted(output.glob(f"*/{FAILURE}")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(path.read_text())
            if told["recipe"] == recipe:
                found[str(told["label"])] = str(told["error"])
    return found


def _kept(run: Run, *, redo: bool) -> Score | None:
    try:
        return finished(run)
    except UsageError:
        if redo:
            return None
        raise
