"""``extrecon run``: a RELION command with everything around it that extrecon needs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from extrecon.call.choice import check_choice
from extrecon.cli import progress
from extrecon.cli.console import console, errors
from extrecon.cli.lease import daemon_for_a_run
from extrecon.cli.run_mask import with_mask
from extrecon.cli.watch import LOOK_SECONDS, follow
from extrecon.errors import DaemonError, UsageError
from extrecon.options.command_line import parse_options
from extrecon.relion import telling
from extrecon.relion.account import account_of
from extrecon.relion.history import Iteration, RefinementFolder, continued_refinement
from extrecon.relion.names import parse_file_name
from extrecon.relion.program import VARIABLE
from extrecon.system.processes import signals_handled

FLAG, BLUSH, GRADIENT = "--external_reconstruct", "--blush", "--grad"
# Apptainer and Singularity set in the container what these prefixes stand before.
_CONTAINER_PREFIXES = ("APPTAINERENV_", "SINGULARITYENV_")
_SET_TO_NOTHING = re.compile(rf"(?<![A-Za-z0-9_]){VARIABLE}=(?:[\s,]|$)")
_NOT_FOUND, _SIGNAL_EXIT_BASE = 127, 128


class RawCommand(TyperCommand):
    """Takes its words as they are: what follows ``--`` belongs to RELION."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words, after looking for --help among our own."""
        if ctx.resilient_parsing:  # a shell that completes words wants nothing said
            ctx.params, ctx.args = {}, list(args)
            return []
        own = args[: args.index("--")] if "--" in args else args
        if not args or "--help" in own:
            typer.echo(ctx.get_help())
            ctx.exit(0 if args else UsageError.exit_code)
        ctx.params, ctx.args = {}, list(args)
        return []


def command(context: typer.Context) -> None:
    """Run RELION with extrecon: extrecon run HOOK-OPTIONS -- mpirun -n 3 relion_refine_mpi ….

    Sets the variable that RELION reads, starts the daemon, shows the refinement as `extrecon watch` does, passes
    signals and the exit code through, and ends with a summary and a picture of it. The options are those of
    extrecon-hook. On a terminal RELION's own output goes to a file beside its results.

    With --mask-each-iteration RELION also gets --solvent_mask and --solvent_correct_fsc: a sphere at first, and in
    local search a mask that each iteration draws anew from its two half-maps.
    """
    own, words = _split(context.args)
    here = working_directory()
    options = parse_options(own, os.environ, here)
    if options.text("apply") != "never":
        check_choice(options, here)
    refinement = _refinement_of(words)
    if options.flag("mask_each_iteration"):
        words = with_mask(words)
    use_daemon = options.text("daemon") == "auto"
    before = refinement.records() if refinement else {}
    with _daemon(use_daemon):
        code = _Running(words, _environment(own), refinement).wait()
    if refinement is not None:
        _summarize(refinement, before, code, words)
    elif code == 0:
        console.print("The command names no output with --o or --continue, so there is nothing to sum up.")
    raise typer.Exit(code)


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        raise UsageError("extrecon run needs a command: extrecon run [options] -- mpirun -n 3 relion_refine_mpi …")
    position = list(words).index("--")
    own, command_words = list(words[:position]), list(words[position + 1 :])
    if not command_words:
        raise UsageError("there is no command after --.")
    # A command may be a whole shell line in one word, as in: bash -c "…".
    if not any(FLAG in word for word in command_words):
        raise UsageError(
            f"the command lacks {FLAG}: RELION would reconstruct by itself and never call extrecon. "
            f"Add {FLAG} to it: {shlex.join(command_words)}"
        )
    _refuse_what_loses_the_hook(command_words)
    return own, command_words


def working_directory() -> Path:
    """Return the working directory.

    Raises
    ------
    UsageError : it was removed.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError(
            f"the working directory is gone ({error.strerror}): change to one that is there."
        ) from error


def _refuse_what_loses_the_hook(words: Sequence[str]) -> None:
    """Stop before days of refinement without a single call."""
    parts = _parts(words)
    if BLUSH in parts:
        raise UsageError(
            f"{BLUSH} wins over {FLAG}: RELION would use Blush and never call extrecon. Leave one of the two out."
        )
    if GRADIENT in parts:
        raise UsageError(
            f"{GRADIENT} cannot go with {FLAG}: RELION would hand over differences from the reference, and take "
            "what comes back for the reference itself. Leave one of the two out."
        )
    # As it stands, or as the shell inside the word would read it.
    if any(_SET_TO_NOTHING.search(part) for part in (*words, *parts)):
        raise UsageError(
            f"the command sets {VARIABLE} to nothing: RELION would then run its STAR file as a program and stop. "
            "Leave that out; extrecon run sets the variable."
        )
    for prefix in _CONTAINER_PREFIXES:
        if not os.environ.get(prefix + VARIABLE, "set").strip():
            raise UsageError(
                f"{prefix}{VARIABLE} is set to nothing, so it would be empty inside the container: unset it."
            )
    if not os.environ.get(VARIABLE, "set").strip():
        errors.print(
            f"warning: {VARIABLE} was set to nothing; extrecon run sets it for this command. A launcher that "
            "empties it again on other hosts or in a container would stop RELION.",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )


def _parts(words: Sequence[str]) -> list[str]:
    """Return the command's words, a shell line in one word split as well."""
    return [part for word in words for part in (_shell_words(word) if FLAG in word else [word])]


def _shell_words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quotation mark without its other half, in a comment say
        return line.split()


def _refinement_of(words: Sequence[str]) -> RefinementFolder | None:
    """Return the folder that RELION will write to, from its --o; it goes on in the folder of --continue without."""
    given = dict(reversed([*pairwise(_parts(words))]))
    if "--o" in given:
        target = Path(given["--o"])
        return RefinementFolder(target.parent, target.name)
    return continued_refinement(Path(given["--continue"])) if "--continue" in given else None


def _environment(own: Sequence[str]) -> dict[str, str]:
    hook = shutil.which("extrecon-hook", path=str(Path(sys.executable).parent)) or shutil.which("extrecon-hook")
    if hook is None:
        raise UsageError("extrecon-hook is not installed beside this Python; install extrecon again.")
    return os.environ | {VARIABLE: shlex.join([hook, *own])}


@contextmanager
def _daemon(wanted: bool) -> Iterator[None]:
    """Have a daemon, unless it is not wanted or cannot be had."""
    with ExitStack() as held:
        if wanted:
            try:
                held.enter_context(daemon_for_a_run())
            except DaemonError as error:
                told = f"[yellow]No daemon:[/] {escape(str(error))}. Each call works by itself."
                errors.print(told, highlight=False)
        yield


class _Running:
    """RELION's command while it runs."""

    def __init__(
        self, words: Sequence[str], environ: Mapping[str, str], refinement: RefinementFolder | None
    ) -> None:
        self._words = list(words)
        self._environ = dict(environ)
        self._refinement = refinement
        self._shows = console.is_terminal and refinement is not None and refinement.folder.is_dir()
        self._process: subprocess.Popen[bytes] | None = None
        self._received: int | None = None
        earlier = refinement.iterations() if refinement else []
        self._said_before = {key for key, _ in telling.alarms(earlier)}

    def wait(self) -> int:
        """Return the command's exit code; 128 + n after signal n, as a shell would."""
        # What was ignored when we were started, as nohup does, RELION ignores as well: we must outlive it.
        with signals_handled(self._forward):
            self._start()
            if self._shows and self._refinement is not None:
                follow(self._refinement, self._is_over, transient=True)  # the summary shows it all
            else:
                self._wait_and_warn()
            code = self._process.wait() if self._process else _NOT_FOUND
        return code if code >= 0 else _SIGNAL_EXIT_BASE - code

    def _wait_and_warn(self) -> None:
        """Wait, and say at once what RELION's log will not: that it does without extrecon."""
        if self._refinement is None:
            return
        said = set(self._said_before)
        while True:
            over = self._is_over()
            for key, line in telling.alarms(self._refinement.iterations()):
                if key not in said:
                    said.add(key)
                    errors.print(line, style="bold red", highlight=False, markup=False, soft_wrap=True)
            if over or self._process is None:
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_SECONDS)

    def _start(self) -> None:
        try:
            # A group of its own: a key on the terminal would reach it twice otherwise, once through us.
            self._process = subprocess.Popen(
                self._words,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                process_group=0,
                **self._log(),
            )
        except OSError as error:
            raise UsageError(f"{self._words[0]}: cannot be run: {error.strerror}.") from error
        if self._received is not None:
            self._forward(self._received, None)

    def _log(self) -> dict[str, Any]:
        if not self._shows or self._refinement is None:
            return {}
        path = self._refinement.folder / f"{self._refinement.root}_relion.log"
        console.print(f"RELION's output: {path}", highlight=False, soft_wrap=True, markup=False)
        return {"stdout": path.open("ab"), "stderr": subprocess.STDOUT}

    def _is_over(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def _summarize(
    refinement: RefinementFolder, records_before: Mapping[str, int], code: int, words: Sequence[str]
) -> None:
    """Show the whole table, draw the picture and the page, and say so if extrecon had no part in it."""
    iterations = refinement.iterations()
    if iterations:
        console.print(progress.table(iterations, str(refinement)))
        lines = [(line, "") for line in progress.fsc_lines(iterations)]
        for line, style in (*lines, *progress.given_lines(iterations)):
            console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
        for warning in telling.warnings(iterations):
            console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
        _draw(refinement, iterations)
        _report(refinement)
    if refinement.records() == records_before and code != 0:
        errors.print(
            f"[bold red]RELION ended with code {code} before it ever called extrecon-hook[/]: what it said last "
            f"tells why.{_output_hint(words, refinement)}",
            highlight=False,
        )
    elif refinement.records() == records_before:
        errors.print(
            f"[bold red]RELION never called extrecon-hook[/]: nothing was regularized. Was {VARIABLE} lost on the "
            "way, or set to nothing, in a script, a module, a container or a remote shell? Does this RELION know "
            f"{FLAG}?",
            highlight=False,
        )


def _output_hint(words: Sequence[str], refinement: RefinementFolder) -> str:
    """Return what RELION's "output directory does not exist" is about, where that may be what it has said."""
    given = dict(reversed([*pairwise(_parts(words))]))
    if "--continue" not in given or "--o" in given:
        return ""
    name = parse_file_name(Path(given["--continue"]).name)
    continued = f"{refinement}_ct{name.iteration}" if name else refinement
    return f" RELION needs --o with --continue, such as --o {escape(str(continued))}."


def _draw(refinement: RefinementFolder, iterations: Sequence[Iteration]) -> None:
    from extrecon.pictures.refinement import draw_refinement

    path = refinement.folder / f"{refinement.root}_extrecon.png"
    try:
        draw_refinement(path, iterations, str(refinement))
    except Exception as error:  # noqa: BLE001  a broken matplotlib must not cost RELION's exit code
        errors.print(f"[yellow]No picture:[/] {escape(str(error))}", highlight=False)
    else:
        console.print(f"picture: {path}", highlight=False, soft_wrap=True, markup=False)


def _report(refinement: RefinementFolder) -> None:
    from extrecon.cli import report

    try:
        account = account_of(refinement)
        report.write(account, report.default_page(account))
    except Exception as error:  # noqa: BLE001  nor must a broken page
        errors.print(f"[yellow]No report:[/] {escape(str(error))}", highlight=False)
