"""``extrecon doctor``: is everything there that a refinement needs, and what to do if not."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer
from rich.table import Table

from extrecon import __version__
from extrecon.call.choice import check_choice
from extrecon.cli.console import console
from extrecon.cli.daemon import describe
from extrecon.daemon import client
from extrecon.daemon.place import find_place
from extrecon.errors import DaemonError, ExtreconError, UsageError
from extrecon.fourier.compute import available_cores, compute_for
from extrecon.options import OPTIONS, Options
from extrecon.options.command_line import parse
from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, REGULARIZER_GROUP, Regularizer, available, load
from extrecon.relion.program import relion_version

VARIABLE = "RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"
OLDEST_RELION = (3, 1)

_COLOURS = {"good": "green", "note": "yellow", "bad": "red"}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    what : the thing looked at
    state : "good", "note" (works, but look here) or "bad" (a refinement would fail)
    found : what was found
    advice : what to do; empty if nothing
    """

    what: str
    state: Literal["good", "note", "bad"]
    found: str
    advice: str = ""


def command() -> None:
    """Check Python, torch, the device, RELION, the variable and the regularizers, and say what to do."""
    findings = list(examine())
    table = Table(title=f"extrecon {__version__}", title_justify="left")
    for column in ("", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        colour = _COLOURS[finding.state]
        table.add_row(f"[{colour}]{finding.what}[/]", finding.found, finding.advice)
    console.print(table)
    if not _hook_words():
        console.print(f"Before RELION:\n{export_line()}", highlight=False, soft_wrap=True)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Look at each thing in turn."""
    yield Finding("Python", "good", f"{platform.python_version()}, {available_cores()} cores for this process")
    yield _torch()
    yield _device()
    yield _relion()
    yield _mpi()
    yield _variable()
    yield from _options()
    yield _daemon()
    yield from _plugins()


def _torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("torch", "note", f"cannot be imported: {error}", "GPU work needs it: pip install torch")
    return Finding("torch", "good", str(torch.__version__))


def _device() -> Finding:
    try:
        name = compute_for("auto").name
    except ExtreconError as error:
        return Finding("device", "note", str(error), "use --device cpu")
    advice = "" if name.startswith("cuda") else "no NVIDIA driver is loaded: everything runs on the CPU"
    return Finding("device", "good", name, advice)


def _relion() -> Finding:
    program = shutil.which("relion_refine_mpi") or shutil.which("relion_refine")
    if program is None:
        return Finding("RELION", "note", "not on the PATH", "load its module, or on Debian: apt-get install relion")
    version = relion_version(program)
    if version is None:
        return Finding("RELION", "note", f"{program}, version unknown", "3.1, 4 and 5 are supported")
    text = ".".join(map(str, version))
    if version[:2] < OLDEST_RELION:
        return Finding("RELION", "bad", f"{program}, {text}", "external reconstruction needs RELION 3.1 or later")
    return Finding("RELION", "good", f"{program}, {text}")


def _mpi() -> Finding:
    program = shutil.which("mpirun") or shutil.which("mpiexec") or shutil.which("srun")
    if program is None:
        return Finding("MPI", "note", "no mpirun, mpiexec or srun", "half-set refinement needs three MPI ranks")
    return Finding("MPI", "good", program)


def _hook_words() -> list[str]:
    """Return the variable's program and options as RELION's shell would split them."""
    try:
        return shlex.split(os.environ.get(VARIABLE, ""))
    except ValueError:  # a quotation mark without its other half
        return os.environ.get(VARIABLE, "").split()


def _names_the_hook(words: Sequence[str]) -> bool:
    return bool(words) and Path(words[0]).name == "extrecon-hook"


def _variable() -> Finding:
    words = _hook_words()
    if not words:
        return Finding("variable", "note", f"{VARIABLE} is not set", "set it before RELION starts, as told below")
    told = f"{VARIABLE}={os.environ[VARIABLE]}"
    program = shutil.which(words[0])
    if program is None:
        return Finding("variable", "bad", told, f"'{words[0]}' cannot be run")
    if not _names_the_hook(words):
        return Finding("variable", "note", told, "RELION would run this, not extrecon-hook")
    return Finding("variable", "good", f"{told} ({program})")


def export_line() -> str:
    """Return the shell command that makes RELION call extrecon."""
    hook = shutil.which("extrecon-hook") or str(Path(sys.executable).with_name("extrecon-hook"))
    return f"export {VARIABLE}={shlex.quote(hook)}"


def _options() -> Iterator[Finding]:
    """Read the options as the hook itself will, those inside the variable included."""
    words = _hook_words()
    given = words[1:] if _names_the_hook(words) else []
    try:
        _, options = parse([*given, "FILE.star"], os.environ, Path.cwd())
    except UsageError as error:
        yield Finding("options", "bad", str(error), "mend the variable or extrecon.toml")
        return
    told = [
        f"{o.name}={options.values[o.key]} ({options.origins[o.key]})"
        for o in OPTIONS
        if options.origins[o.key] != "default"
    ]
    told += [f"set {key}={value} ({options.origins['set.' + key]})" for key, value in options.settings.items()]
    found = ", ".join(told) or "all at their defaults"
    advice = "; ".join(options.warnings)
    yield Finding("options", "note" if advice else "good", found, advice)
    yield _chosen(options)


def _chosen(options: Options) -> Finding:
    """Check what the hook would only need days later: the regularizer, its parameters and the mask."""
    name = options.text("regularizer")
    try:
        check_choice(options, Path.cwd())
    except ExtreconError as error:
        return Finding("chosen", "bad", str(error), "`extrecon regularizers` lists what there is")
    when = {"local-search": "in local search", "always": "always", "never": "never"}[options.text("apply")]
    return Finding("chosen", "good", f"{name}, applied {when}")


def _daemon() -> Finding:
    try:
        place = find_place(os.environ)
        told = client.ask({"verb": "status"}, os.environ)
        if told is not None:
            return Finding("daemon", "good", "; ".join(describe(told)[:2]))
        if place.folder.exists():
            place.prepare()
    except DaemonError as error:
        return Finding("daemon", "note", str(error), "without a daemon each call takes seconds longer")
    return Finding("daemon", "good", f"not running; the first call starts it, in {place.folder}")


def _plugins() -> Iterator[Finding]:
    for what, group in (("regularizer", REGULARIZER_GROUP), ("local resolution", LOCAL_RESOLUTION_GROUP)):
        for name in available(group):
            try:
                plugin = load(name, group)
            except ExtreconError as error:
                yield Finding(f"{what} {name}", "bad", str(error), "reinstall the package that brings it")
            else:
                yield _readiness(f"{what} {name}", plugin)


def _readiness(what: str, plugin: Any) -> Finding:
    """Load what a plugin needs, such as weights, as the daemon would."""
    try:
        read = plugin.prepare() if isinstance(plugin, Regularizer) else ()
    except ExtreconError as error:
        return Finding(what, "bad", str(error), "reinstall the package that brings it")
    weights = f", has read {', '.join(str(path) for path in read)}" if read else ""
    return Finding(what, "good", f"version {plugin.version}{weights}")
