"""In which order a comparison's tasks are done: starts, the run that the mask is from, the others, the scores."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extrecon.compare.engines import Engine, Outcome, Task, Tick
from extrecon.compare.judge import Judge, Scoring
from extrecon.compare.made_mask import make_mask, mask_source
from extrecon.compare.runs import Run
from extrecon.errors import ExtreconError

Outcomes = Generator[Outcome, None, None]


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes
    ----------
    engine, tick : who does it, and what is called meanwhile
    runs : of the whole comparison
    kept : what each run's refinement is known for, by its folder; None for those that are to be done. Whoever takes
        the outcomes puts them here.
    output : the comparison's folder
    judge : how runs are scored whose refinement does not score them
    """

    engine: Engine
    tick: Tick
    runs: Sequence[Run]
    kept: Mapping[Path, Any]
    output: Path
    judge: Judge | None = None

    def outcomes(self) -> Outcomes:
        """Do all that is not done, and yield what became of it.

        Where one task is done at a time and seeds have a start, seed by seed, so that an early end leaves whole
        comparisons.
        """
        groups = [list(self.runs)]
        if self.engine.one_by_one and any(run.start for run in self.runs):
            groups = [[r for r in self.runs if r.seed == seed] for seed in dict.fromkeys(r.seed for r in self.runs)]
        for group in groups:
            todo = [run for run in group if self.kept[run.folder] is None]
            lost = yield from self._starts(todo)
            ready = [run for run in todo if run.start is None or run.start.folder not in lost]
            yield from self._refinements(ready)
            for run in todo:
                if run.start is not None and (why := lost.get(run.start.folder)):
                    yield Outcome(run, None, f"{run.folder}: there is nothing to go on from: {why}")
            if self.judge is not None:
                yield from self._scores([run for run in group if self.kept[run.folder] is not None], self.judge)

    def _starts(self, runs: Sequence[Run]) -> Generator[Outcome, None, dict[Path, str]]:
        """Do the starts of some runs; return why those failed that did, by their folders."""
        starts = {run.start.folder: run.start for run in runs if run.start is not None}
        todo = [start for start in starts.values() if start.kept() is None]
        lost = {}
        for outcome in self._do(todo):
            if outcome.score is None:
                lost[outcome.run.folder] = outcome.error
            yield outcome
        return lost

    def _refinements(self, todo: Sequence[Run]) -> Outcomes:
        """Do refinements; those under the made mask wait for the run it is from."""
        masked = [run for run in todo if run.arm.made_mask]
        source = mask_source(self.runs) if masked else None
        if source is None:
            yield from self._do(todo)
            return
        first = [run for run in todo if run is source]
        lost = ""
        for outcome in self._do(first):
            lost = outcome.error
            yield outcome
        try:
            if not lost:
                make_mask(source, self.output)
        except (ExtreconError, OSError) as error:
            lost = str(error)
        rest = [run for run in todo if run is not source and not (lost and run.arm.made_mask)]
        yield from self._do(rest)
        for run in masked if lost else []:
            yield Outcome(run, None, f"{run.folder}: there is no mask, because {source.label} gave none: {lost}")

    def _scores(self, runs: Sequence[Run], judge: Judge) -> Outcomes:
        """Score refinements that are done."""
        if not runs:
            return
        try:
            judge.prepare([run for run in self.runs if self.kept[run.folder] is not None], self.output)
        except (ExtreconError, OSError) as error:
            for run in runs:
                yield Outcome(run, None, f"{run.folder}: there is no mask for its scores: {error}")
            return
        for awaited in (judge.poses, judge.unseen):
            task = awaited(self.output)
            for outcome in self._do([task] if task is not None and not task.is_done else []):
                yield outcome
                if outcome.score is None:
                    for run in runs:
                        yield Outcome(run, None, f"{run.folder}: cannot be judged: {outcome.error}")
                    return
        yield from self.scored(judge.scorings({run.folder: run.label for run in runs}, self.output))

    def scored(self, scorings: Sequence[Scoring]) -> Outcomes:
        """Do the scorings that are not done."""
        yield from self._do([each for each in scorings if each.kept() is None])

    def _do(self, tasks: Sequence[Task]) -> Outcomes:
        if tasks:
            yield from self.engine.outcomes(tasks, self.tick)
