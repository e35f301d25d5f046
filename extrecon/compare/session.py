"""A whole comparison: what is done is kept, the rest is run, failures are told, the report is written."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extrecon.compare.arms import PLAIN
from extrecon.compare.dataset import refuse_spaces
from extrecon.compare.engines import Engine, Outcome, Tick
from extrecon.compare.made_mask import made_mask, make_mask, mask_source
from extrecon.compare.report import write_report
from extrecon.compare.runs import Run, finished, finished_beside
from extrecon.errors import ExtreconError, UsageError


@dataclass(frozen=True)
class Result:
    """What a comparison came to.

    Attributes
    ----------
    scores : of all runs that are done, in the order of the runs, and of earlier ones in the folder
    failures : of the others
    files : the report; empty if no run has a score
    """

    scores: list[dict[str, Any]]
    failures: list[Outcome]
    files: list[Path]


def compare(
    runs: Sequence[Run],
    engine: Engine,
    output: Path,
    title: str,
    *,
    redo: bool = False,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    tick: Tick = lambda: None,
) -> Result:
    """Do the runs that are not done yet, and report on all, earlier ones of other arms and seeds included.

    Parameters
    ----------
    output : folder of the comparison, which must be there
    redo : replace finished runs that were made in another way; else they are refused
    on_outcome : told each run that ends
    tick : called about twice a second meanwhile

    Raises
    ------
    UsageError : another comparison works in the folder, or a finished run was made in another way.
    """
    refuse_spaces(output.resolve())
    with _alone_in(output):
        kept = {run.folder: _kept(run, redo=redo) for run in runs}
        failures: list[Outcome] = []
        with closing(_all_outcomes(engine, runs, kept, output, tick)) as outcomes:
            for outcome in outcomes:
                kept[outcome.run.folder] = outcome.score
                if outcome.score is None:
                    failures.append(outcome)
                on_outcome(outcome)
        scores = [score for run in runs if (score := kept[run.folder]) is not None]
        beside = finished_beside(runs, output)
        order = list(dict.fromkeys([run.arm.name for run in runs] + [score["arm"] for score in beside]))
        if any(score["arm"] == PLAIN for score in beside):  # first in the table
            order = [PLAIN, *(name for name in order if name != PLAIN)]
        scores += beside
        mask = made_mask(output, runs[0].recipe_fingerprint)
        return Result(scores, failures, write_report(output, scores, order, title, mask) if scores else [])


def _all_outcomes(
    engine: Engine, runs: Sequence[Run], kept: Mapping[Path, Any], output: Path, tick: Tick
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of the runs that are not kept; those under the made mask wait for the run it is from."""
    todo = [run for run in runs if kept[run.folder] is None]
    masked = [run for run in todo if run.arm.made_mask]
    source = mask_source(runs) if masked else None
    if source is None:
        yield from _outcomes(engine, todo, tick)
        return
    first = [run for run in todo if run is source]
    lost = ""
    for outcome in _outcomes(engine, first, tick):
        lost = outcome.error
        yield outcome
    try:
        if not lost:
            make_mask(source, output)
    except (ExtreconError, OSError) as error:
        lost = str(error)
    rest = [run for run in todo if run is not source and not (lost and run.arm.made_mask)]
    yield from _outcomes(engine, rest, tick)
    for run in masked if lost else []:
        yield Outcome(run, None, f"{run.folder}: there is no mask, because {source.label} gave none: {lost}")


def _outcomes(engine: Engine, runs: Sequence[Run], tick: Tick) -> Generator[Outcome, None, None]:
    if runs:
        yield from engine.outcomes(runs, tick)


def _kept(run: Run, *, redo: bool) -> dict[str, Any] | None:
    try:
        return finished(run)
    except UsageError:
        if redo:
            return None
        raise


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another comparison is at work here; wait for its end.") from None
        yield
