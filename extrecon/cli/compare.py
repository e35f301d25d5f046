"""``extrecon compare``: real refinements side by side, scored against the truth or without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extrecon.cli.compare_shown import ended_by_signals, progress, tell
from extrecon.cli.console import errors, prepare_folder, settings_from
from extrecon.errors import RefinementError, UsageError
from extrecon.system.packages import SIMULATING, require

if TYPE_CHECKING:
    from extrecon.compare.engines import Engine
    from extrecon.compare.judge import Judge
    from extrecon.compare.runs import Run

_LAUNCHER, _RANKS = "mpirun --oversubscribe", 3
_OF_OUR_RECIPE = {
    "healpix_order": "--healpix_order",
    "local_order": "--auto_local_healpix_order",
    "ini_high": "--ini_high",
    "threads": "--j",
    "relion_option": "",
}
_OF_OWN_PARTICLES = ("recipe", "model", "reference_map", "score_mask", "hold_out", "no_common_start")


class EngineName(StrEnum):
    """Where runs are done."""

    LOCAL = "local"
    SUBMITIT = "submitit"
    SLURM = "slurm"


def command(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DIR | -- COMMAND", help="What `extrecon simulate` wrote; or how you refine your own particles."
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=COMMAND]", help="plain, a regularizer, hook options or a command; repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the runs; else DIR/compare.")
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="N,N,…", help="RELION's random seeds, one run of each arm each.")
    ] = ("1,2,3"),
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Holds COMMAND, or RELION's options alone; # begins a comment."),
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Of your particles, that no arm refines and all are judged by."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Atoms in your map's frame, to judge your runs by.")
    ] = None,
    reference_map: Annotated[
        Path | None, typer.Option(metavar="R.mrc", help="Another map in its frame and on its grid, to judge by.")
    ] = None,
    score_mask: Annotated[
        Path | None,
        typer.Option(metavar="MASK.mrc", help="For the scores of all arms; else made from a plain run."),
    ] = None,
    no_common_start: Annotated[
        bool, typer.Option("--no-common-start", help="Repeat the global search for each arm.")
    ] = False,
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
    mpi_ranks: Annotated[int, typer.Option(min=3, help="One leads, the others share the two half-sets.")] = _RANKS,
    threads: Annotated[int, typer.Option(min=1, help="Of each rank.")] = 1,
    launcher: Annotated[
        str, typer.Option(metavar="COMMAND", help="Starts MPI programs; -n RANKS is added.")
    ] = _LAUNCHER,
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
    """Refine particles with RELION, once for each arm and seed, and score the runs.

    An arm is plain (RELION's own program), a regularizer's name, NAME="--regularizer R --set K=V …" (options of
    extrecon-hook), or NAME=COMMAND; NAME=plain and NAME=REGULARIZER give another name. RELION is at its best with
    a mask: --arm plain --arm masked=plain --arm cnn --arm masked-cnn=cnn --make-mask masked,masked-cnn; or your
    own: --relion "masked=--solvent_mask m.mrc --solvent_correct_fsc". Finished runs are kept and not repeated.
    Writes comparison.json, .md and .png: scores with their spread over the seeds, and each arm's difference to the
    strongest plain one seed by seed. The warm daemon stays off, so that each run pays for its own calls.

    Simulated particles, `extrecon compare DIR --arm …`, are scored against their truth. Your own particles,
    `extrecon compare -o OUT --arm … -- mpirun -n 3 relion_refine_mpi --i particles.star …`, are refined by your
    own command, started here where you start it; --o, --random_seed and --external_reconstruct are added. They are
    judged by --hold-out, --model, --reference-map, and half-map FSC under one mask. The global search is
    done once a seed, for all arms that do not change it.
    """
    given = Given(locals())
    from extrecon.compare.session import compare

    numbers = _seeds(seeds)
    asked = _own(given, numbers) if given.is_own(context) else _simulated(given, numbers)
    chosen = _engine(engine, jobs, slurm_option or [], asked.folder)
    done = sum((run.folder / run.subject.kept_in).is_file() for run in asked.runs)
    before = f", {done} of them done before" if done else ""
    errors.print(f"{len(asked.runs)} runs in {asked.folder}{before}", highlight=False, markup=False, soft_wrap=True)
    with ended_by_signals(), progress(asked.runs) as (on_outcome, tick):
        result = compare(
            asked.runs,
            chosen,
            asked.folder,
            asked.title,
            judge=asked.judge,
            redo=redo,
            on_outcome=on_outcome,
            tick=tick,
        )
    tell(result, asked.folder)
    if result.failures:
        raise RefinementError(f"{len(result.failures)} of {len(asked.runs)} runs failed; see above.")


@dataclass(frozen=True)
class Asked:
    """What a comparison does: its runs, who judges them, where, and what it is called."""

    runs: Sequence[Run]
    folder: Path
    title: str
    judge: Judge | None = None


class Given:
    """The options of the command, by name."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = dict(options)

    def __getattr__(self, name: str) -> Any:
        return self._options[name]

    def is_own(self, context: typer.Context) -> bool:
        """Tell whether somebody's own particles are to be refined.

        Raises
        ------
        UsageError : neither or both of the two forms were given, or an option of the other.
        """
        words = self.words or []
        is_folder = len(words) == 1 and self.recipe is None
        if not words and self.recipe is None:
            raise UsageError(
                "Give what `extrecon simulate` wrote; or, behind -- or in --recipe, how you refine your particles."
            )
        if words and self.recipe is not None:
            raise UsageError("Give the command behind -- or in --recipe, not both.")
        told = {name for name in self._options if _was_given(context, name)}
        if is_folder:
            if len(words[0].split()) > 1:
                raise UsageError(f"'{words[0][:40]} …' came as one word: leave out the quotes around the command.")
            for name in told.intersection(_OF_OWN_PARTICLES):
                raise UsageError(f"{_flag(name)} is for your own particles; {words[0]} has its truth with it.")
            return False
        for name in told.intersection(_OF_OUR_RECIPE):
            there = f" ({_OF_OUR_RECIPE[name]})" if _OF_OUR_RECIPE[name] else ""
            raise UsageError(f"{_flag(name)} is for simulated particles; your own command tells it{there}.")
        if words and told.intersection({"launcher", "mpi_ranks"}):
            raise UsageError("--launcher and --mpi-ranks are in your command already: it begins with them.")
        return True


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _simulated(given: Given, seeds: Sequence[int]) -> Asked:
    """Plan runs on what `extrecon simulate` wrote."""
    from extrecon.compare.arms import read_arms
    from extrecon.compare.dataset import read_data_set
    from extrecon.compare.made_mask import with_made_mask
    from extrecon.compare.recipe import Recipe
    from extrecon.compare.relion_words import Place, for_all_arms, with_relion_words
    from extrecon.compare.runs import plan_runs

    data_set = read_data_set(Path(given.words[0]))
    place = Place(data_set.folder, data_set.folder / "truth.mrc")
    recipe = Recipe(
        healpix_order=given.healpix_order,
        local_order=given.local_order,
        ini_high_angstrom=given.ini_high,
        mpi_ranks=given.mpi_ranks,
        threads=given.threads,
        launcher=given.launcher,
        more=for_all_arms(given.relion_option or (), place),
    )
    folder = (given.output or data_set.folder / "compare").resolve()
    arms = with_relion_words(read_arms(given.arm or ()), given.relion or (), place)
    arms = with_made_mask(arms, _names(given.make_mask), folder)
    runs = plan_runs(data_set, arms, seeds, recipe, folder)
    prepare_folder(folder)
    return Asked(runs, folder, f"Comparison on {data_set.folder.name}")


def _own(given: Given, seeds: Sequence[int]) -> Asked:
    """Plan runs on somebody's own particles."""
    import shlex

    from extrecon.compare.arms import read_arms
    from extrecon.compare.judge import read_judge
    from extrecon.compare.made_mask import with_made_mask
    from extrecon.compare.own_particles import read_own_particles
    from extrecon.compare.recipe import PROGRAM
    from extrecon.compare.relion_words import Place, with_relion_words
    from extrecon.compare.runs import plan_own_runs, require_relion
    from extrecon.compare.user_recipe import read_recipe, recipe_of_file

    if given.output is None:
        raise UsageError("Give a folder for the runs: -o OUT.")
    if given.hold_out is not None:
        if not 0 < given.hold_out <= _MOST_HELD_OUT:
            raise UsageError(f"--hold-out is a share between 0 and {_MOST_HELD_OUT:g}, not {given.hold_out:g}.")
        require("--hold-out", SIMULATING)
    start = [*shlex.split(given.launcher), "-n", str(given.mpi_ranks), PROGRAM]
    recipe = recipe_of_file(given.recipe, start) if given.recipe else read_recipe(given.words, start)
    folder = given.output.resolve()
    here = Path.cwd()
    arms = read_arms(given.arm or ())
    prepare_folder(folder)
    own = read_own_particles(recipe, here, folder, given.hold_out, redo=given.redo)
    require_relion(own)
    judge = read_judge(own, given.score_mask, given.model, given.reference_map)
    arms = with_relion_words(arms, given.relion or (), Place(here, own.reference))
    arms = with_made_mask(arms, _names(given.make_mask), folder)
    runs = plan_own_runs(own, arms, seeds, folder, common_start=not given.no_common_start)
    return Asked(runs, folder, f"Comparison on {Path(recipe.value('--i')).name}", judge)


_MOST_HELD_OUT = 0.5


def _names(text: str | None) -> Sequence[str]:
    return text.split(",") if text else ()


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
