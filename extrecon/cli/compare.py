"""``extrecon compare``: real refinements of simulated particles side by side, scored against the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from extrecon.cli.console import console, errors, prepare_folder, settings_from
from extrecon.errors import RefinementError, UsageError
from extrecon.system.processes import ignore_stopping_signals, name_of_signal, signals_handled

if TYPE_CHECKING:
    from extrecon.compare.engines import Engine, Outcome
    from extrecon.compare.runs import Run
    from extrecon.compare.session import Result

_SIGNAL_EXIT_BASE = 128


class EngineName(StrEnum):
    """Where runs are done."""

    LOCAL = "local"
    SUBMITIT = "submitit"
    SLURM = "slurm"


def command(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="What `extrecon simulate` wrote.")],
    arm: Annotated[
        list[str],
        typer.Option(metavar="NAME[=COMMAND]", help="plain, a regularizer, hook options or a command; repeatable."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the runs; else DIR/compare.")
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="N,N,…", help="RELION's random seeds, one run of each arm each.")
    ] = ("1,2,3"),
    engine: Annotated[
        EngineName, typer.Option(help="local; or jobs of submitit, on this machine or on SLURM.")
    ] = EngineName.LOCAL,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time with the local engine.")] = 1,
    slurm_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="submitit's (timeout_min, mem_gb, …) or sbatch's; repeatable."),
    ] = None,
    healpix_order: Annotated[int, typer.Option(min=0, max=8, help="Of the first iteration.")] = 4,
    local_order: Annotated[int, typer.Option(min=0, max=9, help="Order from which RELION searches locally.")] = 4,
    ini_high: Annotated[float, typer.Option(metavar="Å", help="Low-pass of the first reference.")] = 20.0,
    mpi_ranks: Annotated[int, typer.Option(min=3, help="One leads, the others share the two half-sets.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Of each rank.")] = 1,
    launcher: Annotated[str, typer.Option(metavar="COMMAND", help="Starts MPI programs; -n RANKS is added.")] = (
        "mpirun --oversubscribe"
    ),
    relion_option: Annotated[
        list[str] | None, typer.Option(metavar="OPTIONS", help="Further options of RELION, all arms; repeatable.")
    ] = None,
    relion: Annotated[
        list[str] | None,
        typer.Option(metavar="ARM=OPTIONS", help="RELION's own options for one arm; repeatable."),
    ] = None,
    make_mask: Annotated[
        str | None,
        typer.Option(metavar="ARM,ARM,…", help="Refine these under a mask made here, with --solvent_correct_fsc."),
    ] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Replace finished runs that were made otherwise.")] = False,
) -> None:
    """Refine simulated particles with RELION, once for each arm and seed, and score each run against the truth.

    An arm is plain (RELION's own program), a regularizer's name, NAME="--regularizer R --set K=V …" (options of
    extrecon-hook), or NAME=COMMAND; NAME=plain and NAME=REGULARIZER give another name. RELION is at its best with
    a mask: --arm plain --arm masked=plain --arm cnn --arm masked-cnn=cnn --make-mask masked,masked-cnn; or your
    own: --relion "masked=--solvent_mask m.mrc --solvent_correct_fsc". Finished runs are kept and not repeated.
    Writes comparison.json, .md and .png: scores with their spread over the seeds, and each arm's difference to the
    strongest plain one seed by seed. The warm daemon stays off, so that each run pays for its own calls.
    """
    from extrecon.compare.arms import read_arms
    from extrecon.compare.dataset import read_data_set
    from extrecon.compare.made_mask import with_made_mask
    from extrecon.compare.recipe import Recipe
    from extrecon.compare.relion_words import for_all_arms, with_relion_words
    from extrecon.compare.runs import plan_runs
    from extrecon.compare.session import compare

    data_set = read_data_set(data)
    recipe = Recipe(
        healpix_order=healpix_order,
        local_order=local_order,
        ini_high_angstrom=ini_high,
        mpi_ranks=mpi_ranks,
        threads=threads,
        launcher=launcher,
        more=for_all_arms(relion_option or (), data_set),
    )
    folder = (output or data / "compare").resolve()
    arms = with_relion_words(read_arms(arm), relion or (), data_set)
    arms = with_made_mask(arms, make_mask.split(",") if make_mask else (), folder)
    runs = plan_runs(data_set, arms, _seeds(seeds), recipe, folder)
    prepare_folder(folder)
    chosen = _engine(engine, jobs, slurm_option or [], folder)
    errors.print(f"{len(runs)} runs in {folder}", highlight=False, markup=False, soft_wrap=True)
    with _ended_by_signals(), _shown(runs) as (on_outcome, tick):
        result = compare(
            runs,
            chosen,
            folder,
            f"Comparison on {data.resolve().name}",
            redo=redo,
            on_outcome=on_outcome,
            tick=tick,
        )
    _tell(result, [each.name for each in arms], folder)
    if result.failures:
        raise RefinementError(f"{len(result.failures)} of {len(runs)} runs failed; see above.")


def _tell(result: Result, names: list[str], folder: Path) -> None:
    """Show the table, the arm to beat, and what the user should know."""
    from extrecon.compare.baseline import to_beat
    from extrecon.compare.report import rows, warnings

    if not result.scores:
        return
    headings, *lines = rows(result.scores, names)
    _show_table(headings, lines)
    console.print(to_beat(result.scores, names), highlight=False, markup=False, soft_wrap=True)
    for warning in warnings(result.scores):
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{folder}: {', '.join(path.name for path in result.files)}", highlight=False, soft_wrap=True)


def _seeds(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"Seeds are whole numbers with commas between them, not '{text}'.") from None


def _engine(name: EngineName, jobs: int, options: Sequence[str], folder: Path) -> Engine:
    from extrecon.compare.engines import LocalEngine, SubmititEngine

    if name is EngineName.LOCAL:
        if options:
            raise UsageError("--slurm-option is for --engine slurm and --engine submitit.")
        return LocalEngine(jobs)
    if jobs != 1:
        raise UsageError(f"--jobs is for --engine local; {name} starts all runs at once.")
    cluster = "slurm" if name is EngineName.SLURM else "local"
    return SubmititEngine(folder / "submitit", cluster, {k: str(v) for k, v in settings_from(options).items()})


def _show_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Show the table with an arm a column: scores are many, arms few."""
    shown = Table(headings[0], *(line[0] for line in lines), box=None)
    for index, heading in enumerate(headings[1:], 1):
        shown.add_row(heading, *(line[index] for line in lines))
    console.print(shown)


@contextmanager
def _shown(runs: Sequence[Run]) -> Iterator[tuple[Callable[[Outcome], None], Callable[[], None]]]:
    """Show on a terminal how far the runs are; a line for each that ends, there and elsewhere."""
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
            done = sum((run.folder / "score.json").is_file() or run.folder in ended for run in runs)
            at_work = [_at_work(run) for run in runs if run.folder not in ended]
            bars.update(task, completed=done, description="; ".join(filter(None, at_work)) or "runs")

        yield on_outcome, tick


def _line(outcome: Outcome) -> str:
    if outcome.score is None:
        return f"{outcome.run.label}: FAILED: {outcome.error}"
    found = outcome.score
    return (
        f"{outcome.run.label}: {found['median_error_degrees']:.3f}°, mean FSC with the truth "
        f"{found['mean_fsc']:.4f}, {found['iterations']} iterations, {found['wall_seconds']:.0f} s, "
        f"{found['cpu_seconds']:.0f} CPU s"
    )


def _at_work(run: Run) -> str:
    if not (run.folder / "log.txt").is_file() or (run.folder / "score.json").is_file():
        return ""
    return f"{run.label}: iteration {len(list(run.folder.glob('run_it???_half1_model.star')))}"


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Leave in order after a signal: RELION's processes are stopped on the way out."""

    def leave(number: int, _frame: FrameType | None) -> None:
        ignore_stopping_signals()
        errors.print(f"Stopped by {name_of_signal(number)}; finished runs are kept.", highlight=False)
        raise SystemExit(_SIGNAL_EXIT_BASE + number)

    with signals_handled(leave):
        yield
