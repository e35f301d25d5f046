"""Where runs are done: here, some at a time, or as jobs of a cluster through submitit."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from extrecon.errors import ExtreconError, UsageError

Tick = Callable[[], None]
_TICK_SECONDS = 0.5
# submitit's own names; every other option is sbatch's.
_GENERIC = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "nodes", "tasks_per_node", "name")


class Task(Protocol):
    """What an engine does: a refinement, the start of several, or scores."""

    @property
    def folder(self) -> Path:
        """Of its results."""

    @property
    def label(self) -> str:
        """Short form for people."""

    @property
    def cores(self) -> int:
        """How many it keeps busy."""

    def perform(self, stop: Event | None = None) -> dict[str, Any]:
        """Do it, and return what is told of it."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its score, or why there is none."""

    run: Task
    score: dict[str, Any] | None
    error: str = ""


class Engine(Protocol):
    """Does tasks, each independent of the others."""

    @property
    def one_by_one(self) -> bool:
        """Whether it does one after the other."""

    def outcomes(self, runs: Sequence[Task], tick: Tick) -> Iterator[Outcome]:
        """Yield each run's outcome as it ends; call ``tick`` while waiting. Left early, it stops all runs."""
        ...


class LocalEngine:
    """Does the runs on this machine.

    Parameters
    ----------
    jobs : how many at a time
    """

    def __init__(self, jobs: int = 1) -> None:
        if jobs < 1:
            raise UsageError(f"There must be at least one job at a time, not {jobs}.")
        self._jobs = jobs

    @property
    def one_by_one(self) -> bool:
        """Whether it does one after the other."""
        return self._jobs == 1

    def outcomes(self, runs: Sequence[Task], tick: Tick) -> Iterator[Outcome]:
        """Yield each run's outcome as it ends."""
        stop = Event()
        with ThreadPoolExecutor(self._jobs) as pool:
            try:
                pending: dict[Future[Outcome], Task] = {pool.submit(_attempt, run, stop): run for run in runs}
                while pending:
                    done, _ = wait(pending, _TICK_SECONDS, FIRST_COMPLETED)
                    for future in done:
                        del pending[future]
                        yield future.result()
                    tick()
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)


def _attempt(run: Task, stop: Event | None = None) -> Outcome:
    """Do a run; an error that was foreseen is an outcome, for the other runs go on."""
    try:
        return Outcome(run, run.perform(stop))
    except (ExtreconError, OSError) as error:
        return Outcome(run, None, str(error))


class SubmititEngine:
    """Submits each run as a job, to SLURM or to processes of this machine.

    Parameters
    ----------
    folder : for submitit's own files; all machines must see it
    cluster : submitit's name of the executor, ``slurm`` or ``local``
    options : of submitit (``timeout_min``, ``mem_gb``, …), or of sbatch without dashes (``partition``)
    """

    def __init__(self, folder: Path, cluster: str, options: Mapping[str, str]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UsageError(
                "submitit is not installed, which submits jobs: pip install 'extrecon[cluster]'."
            ) from error
        try:
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        except RuntimeError as error:
            raise UsageError(f"submitit finds no {cluster} here: {error}.") from error
        self._options = {_parameter(key, cluster): _value(text) for key, text in options.items()}

    @property
    def one_by_one(self) -> bool:
        """Whether it does one after the other."""
        return False

    def outcomes(self, runs: Sequence[Task], tick: Tick) -> Iterator[Outcome]:
        """Yield each run's outcome as its job ends."""
        pending: dict[Any, Task] = {}
        try:
            for run in runs:
                pending[self._submit(run)] = run
            while pending:
                for job in [job for job in pending if job.done()]:
                    yield _outcome_of(job, pending.pop(job))
                tick()
                time.sleep(_TICK_SECONDS)
        finally:
            for job in pending:
                job.cancel()
            for job in pending:
                _wait_for_end(job)

    def _submit(self, run: Task) -> Any:
        # A first guess that the user's own options replace.
        given = {"timeout_min": 24 * 60, "cpus_per_task": run.cores, "name": "extrecon-compare"} | self._options
        try:
            self._executor.update_parameters(**given)
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise UsageError(f"submitit refuses the options {given}: {error}") from error
        return self._executor.submit(_attempt, run)


def _parameter(key: str, cluster: str) -> str:
    return key if key in _GENERIC else f"{cluster}_{key.replace('-', '_')}"


def _value(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _outcome_of(job: Any, run: Task) -> Outcome:
    try:
        outcome: Outcome = job.result()
    except Exception:  # noqa: BLE001  a job may be lost in any way: cancelled, out of time or memory, no such node
        return Outcome(run, None, f"{run.folder}: job {job.job_id} was lost:\n{traceback.format_exc(limit=1)}")
    return outcome


def _wait_for_end(job: Any, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not job.done() and time.monotonic() < deadline:
        time.sleep(_TICK_SECONDS)
