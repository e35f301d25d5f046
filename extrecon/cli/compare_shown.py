"""What a comparison shows on the terminal: how far it is, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from extrecon.cli.console import console, errors
from extrecon.system.processes import ignore_stopping_signals, name_of_signal, signals_handled

if TYPE_CHECKING:
    from extrecon.compare.engines import Outcome
    from extrecon.compare.runs import Run
    from extrecon.compare.session import Result

_SIGNAL_EXIT_BASE = 128
_BETWEEN = 2  # spaces between the table's columns


def tell(result: Result, folder: Path) -> None:
    """Show the table, the arm to beat, and what the user should know."""
    from extrecon.compare.baseline import to_beat
    from extrecon.compare.report import begins_told, rows, verdicts, warnings

    if result.scores:
        headings, *lines = rows(result.scores, result.order)
        _show_table(headings, lines)
        told = [to_beat(result.scores, result.order), *verdicts(result.scores, result.order)]
        for sentence in [*told, *begins_told(result.scores, result.order)]:
            console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    for warning in warnings(result.scores):
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if result.files:
        console.print(f"{folder}: {', '.join(path.name for path in result.files)}", highlight=False, soft_wrap=True)


def _show_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Show the table with an arm a column, as many beside each other as the terminal holds."""
    widths = [max(len(cell) for cell in line) for line in (headings, *lines)]
    for place in _fitting(widths, console.width):
        some = [lines[index] for index in place]
        shown = Table(headings[0], *(line[0] for line in some), box=None)
        for index, heading in enumerate(headings[1:], 1):
            shown.add_row(heading, *(line[index] for line in some))
        console.print(shown)


def _fitting(widths: Sequence[int], total: int) -> Iterator[list[int]]:
    """Yield the columns that stand beside each other, at least one, with the first width before them."""
    place: list[int] = []
    used = widths[0]
    for index, width in enumerate(widths[1:]):
        if place and used + _BETWEEN + width > total - _BETWEEN:
            yield place
            place, used = [], widths[0]
        place.append(index)
        used += _BETWEEN + width
    yield place


@contextmanager
def progress(runs: Sequence[Run]) -> Iterator[tuple[Callable[[Outcome], None], Callable[[], None]]]:
    """Show on a terminal how far the runs are; a line for each task that ends, there and elsewhere."""
    from extrecon.compare.start import RECORD

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
        transient=True,
    ) as bars:
        task = bars.add_task("runs", total=len(runs))
        ended: set[Path] = set()

        def on_outcome(outcome: Outcome) -> None:
            ended.add(outcome.run.folder)
            bars.console.print(_line(outcome), highlight=False, markup=False, soft_wrap=True)

        def tick() -> None:
            done = sum(_is_done(run) or run.folder in ended for run in runs)
            starts = {run.start.folder: (run.start.label, RECORD) for run in runs if run.start is not None}
            names = starts | {run.folder: (run.label, run.subject.kept_in) for run in runs}
            at_work = [_at_work(folder, *told) for folder, told in names.items() if folder not in ended]
            bars.update(task, completed=done, description="; ".join(filter(None, at_work)) or "runs")

        yield on_outcome, tick


def _is_done(run: Run) -> bool:
    return (run.folder / run.subject.kept_in).is_file()


def _line(outcome: Outcome) -> str:
    """Return a line on what a task has come to: a start, a refinement, or scores."""
    label, found = outcome.run.label, outcome.score
    if found is None:
        return f"{label}: FAILED: {outcome.error}"
    cost = f"{found['wall_seconds']:.0f} s, {found['cpu_seconds']:.0f} CPU s"
    if "log_likelihoods" in found:
        return f"{label}: {cost}"
    if "iteration" in found:
        return f"{label}: local search from iteration {found['iteration']} on, {cost}"
    told = f"{found['iterations']} iterations, {cost}"
    if "mean_fsc" in found:
        score = f"{found['median_error_degrees']:.3f}°, mean FSC with the truth {found['mean_fsc']:.4f}"
        return f"{label}: {score}, {told}"
    if "corrected_resolution_angstrom" in found:
        return f"{label}: {_without_truth(found)}"
    return f"{label}: RELION's resolution {found['resolution_angstrom']:.2f} Å, {told}"


def _without_truth(found: dict[str, Any]) -> str:
    from extrecon.compare.columns import BY_KEY

    keys = ("held_out_nats", "model_resolution_angstrom", "corrected_resolution_angstrom")
    shown = [(BY_KEY[key], found[key]) for key in keys if key in found]
    return "; ".join(f"{column.heading} {value:.{column.digits}f}" for column, value in shown)


def _at_work(folder: Path, label: str, kept_in: str) -> str:
    from extrecon.relion.names import MODEL, parse_file_name

    if not (folder / "log.txt").is_file() or (folder / kept_in).is_file():
        return ""
    names = [parse_file_name(path.name) for path in folder.glob(f"*_half1{MODEL}")]
    return f"{label}: iteration {max((name.iteration for name in names if name is not None), default=-1) + 1}"


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Leave in order after a signal: RELION's processes are stopped on the way out."""

    def leave(number: int, _frame: FrameType | None) -> None:
        ignore_stopping_signals()
        errors.print(f"Stopped by {name_of_signal(number)}; finished runs are kept.", highlight=False)
        raise SystemExit(_SIGNAL_EXIT_BASE + number)

    with signals_handled(leave):
        yield
