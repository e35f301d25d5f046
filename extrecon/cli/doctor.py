"""``extrecon doctor``: is everything there that a refinement needs, and what to do if not."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import psutil
import typer

from extrecon import __version__
from extrecon.cli import disk, libraries
from extrecon.cli.console import JsonOption, busy, console, print_json
from extrecon.cli.finding import Finding, guarded, show
from extrecon.errors import DaemonError, ExtreconError, UsageError
from extrecon.relion.program import VARIABLE, is_open_mpi, relion_version
from extrecon.system.devices import nvidia_driver_is_loaded, threads_of_a_call
from extrecon.system.packages import is_installed

# What may lack a package or be broken is imported by the check that needs it, so that it becomes that check's line.

OLDEST_RELION = (3, 1)
INFINIBAND = Path("/sys/class/infiniband")
_FORK_VARIABLES = ("RDMAV_FORK_SAFE", "IBV_FORK_SAFE")
_WARNS_OF_FORKS = "OMPI_MCA_mpi_warn_on_fork"
_EXAMPLE_BOX, _EXAMPLE_PADDING = 512, 2.0
_FILES_AN_ITERATION = 6  # three accumulators a half
_ITERATIONS = 30  # of a usual refinement


def command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="JOBDIR", help="A refinement, for its box; else the working directory is looked at."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check Python, torch, the device, RELION, the variable, the disk and the regularizers, and say what to do."""
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    with busy("Looking …"):
        findings = list(examine(folder))
    if json:
        print_json({"extrecon": __version__, "findings": [vars(finding) for finding in findings]})
    else:
        show(findings)
    if not (json or _names_the_hook(_hook_words())):
        console.print(f"Before RELION:\n{export_line()}", highlight=False, soft_wrap=True, markup=False)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def examine(folder: Path | None = None) -> Iterator[Finding]:
    """Look at each thing in turn; a check that falls over is a line itself.

    Parameters
    ----------
    folder : of a refinement, whose box tells what its accumulators take; None for the working directory
    """
    yield from guarded("Python", _python)
    yield from guarded("folder", _working_directory)
    yield from guarded("torch", libraries.torch)
    yield from guarded("onnxruntime", libraries.onnxruntime)
    yield from guarded("device", _device)
    yield from guarded("RELION", _relion)
    yield from guarded("MPI", _mpi)
    yield from guarded("fork", _fork)
    yield from guarded("variable", _variable)
    yield from guarded("options", lambda: _options(folder))
    yield from guarded("disk", lambda: _space(folder))
    yield from guarded("daemon", _daemon)
    yield from guarded("runtime folder", _runtime_folder)
    yield from guarded("other daemons", _other_daemons)
    yield from guarded("pictures", _pictures)
    yield from guarded("regularizers", _plugins)


def _python() -> Finding:
    from extrecon.fourier.compute import available_cores

    return Finding("Python", "good", f"{platform.python_version()}, {available_cores()} cores for this process")


def _working_directory() -> Iterator[Finding]:
    try:
        here = Path.cwd()
    except OSError as error:
        yield Finding(
            "folder", "bad", f"the working directory is gone: {error.strerror}", "change to one that is there"
        )
        os.chdir("/")  # libraries abort the whole program where there is no folder
    else:
        writable = os.access(here, os.W_OK | os.X_OK)
        yield Finding("folder", "good" if writable else "note", str(here), "" if writable else "is not writable")


def _device() -> Finding:
    from extrecon.fourier.compute import compute_for

    try:
        name = compute_for("auto").name
    except ExtreconError as error:
        return Finding("device", "note", str(error), "use --device cpu")
    if name.startswith("cuda"):
        return Finding("device", "good", name)
    if nvidia_driver_is_loaded() and not is_installed("torch"):
        return Finding("device", "note", name, "to work on the GPU that is here: pip install 'extrecon[gpu]'")
    why = "torch finds no NVIDIA GPU" if is_installed("torch") else "torch is not installed"
    return Finding("device", "good", name, f"{why}: everything runs on the CPU")


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


def _fork() -> Finding:
    """Explain Open MPI's warning of forks, which every external reconstruction can bring about on InfiniBand."""
    program = shutil.which("mpirun") or shutil.which("mpiexec")
    if program is None or not is_open_mpi(program):
        return Finding("fork", "good", "no Open MPI, which alone warns of forks on InfiniBand")
    devices = sorted(path.name for path in INFINIBAND.iterdir()) if INFINIBAND.is_dir() else []
    if not devices:
        return Finding("fork", "good", "Open MPI; no InfiniBand on this host, so it has nothing to warn of")
    safe = [name for name in _FORK_VARIABLES if os.environ.get(name, "").strip() not in ("", "0")]
    if safe:
        return Finding("fork", "good", f"Open MPI on {', '.join(devices)}; {safe[0]} is set")
    silenced = os.environ.get(_WARNS_OF_FORKS, "").strip() in ("0", "false", "no")
    return Finding(
        "fork",
        "note",
        f"Open MPI on {', '.join(devices)}: RELION forks for each external reconstruction, "
        + ("and the warning of that is switched off" if silenced else "and Open MPI may warn of that"),
        "export RDMAV_FORK_SAFE=1 makes it safe; then export OMPI_MCA_mpi_warn_on_fork=0 ends the warning; give "
        "both to all hosts: mpirun -x RDMAV_FORK_SAFE -x OMPI_MCA_mpi_warn_on_fork",
    )


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
    if VARIABLE in os.environ and not words:
        return Finding(
            "variable",
            "bad",
            f"{VARIABLE} is set to nothing: RELION would run its STAR file as a program and stop",
            "set it as told below, or unset it; container launchers and module files sometimes empty it",
        )
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


def _options(folder: Path | None) -> Iterator[Finding]:
    """Read the options as the hook itself will, those inside the variable included."""
    from extrecon.options import OPTIONS
    from extrecon.options.command_line import parse

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
    yield from guarded("chosen", lambda: _chosen(options))
    yield from guarded("memory", lambda: _room(options, folder or Path.cwd()))


def _chosen(options: Any) -> Finding:
    """Check what the hook would only need days later: the regularizer, its parameters and the mask."""
    from extrecon.call.choice import check_choice

    name = options.text("regularizer")
    try:
        check_choice(options, Path.cwd())
    except ExtreconError as error:
        return Finding("chosen", "bad", str(error), "`extrecon regularizers` lists what there is")
    when = {"local-search": "in local search", "always": "always", "never": "never"}[options.text("apply")]
    return Finding("chosen", "good", f"{name}, applied {when}")


def _room(options: Any, place: Path) -> Finding:
    """Compare the free memory with what both halves take at the box at hand."""
    from extrecon.cli.memory import memory_finding
    from extrecon.fourier.compute import available_cores

    at_hand = disk.box_at_hand(place)
    threads = threads_of_a_call(int(options.number("threads")), available_cores())
    sizes = at_hand or (_EXAMPLE_BOX, _EXAMPLE_PADDING)
    return memory_finding(*sizes, options.text("regularizer"), threads, is_example=at_hand is None)


def _daemon() -> Finding:
    from extrecon.cli.daemon import describe
    from extrecon.daemon import connect
    from extrecon.daemon.place import find_place

    try:
        place = find_place(os.environ)
        told = connect.ask({"verb": "status"}, os.environ)
        if told is not None:
            return Finding("daemon", "good", "; ".join(describe(told)[:2]))
        if place.folder.exists():
            place.prepare()
    except DaemonError as error:
        return Finding("daemon", "note", str(error), "without a daemon each call takes seconds longer")
    return Finding("daemon", "good", f"not running; the first call starts it, in {place.folder}")


def _runtime_folder() -> Iterator[Finding]:
    from extrecon.daemon.place import RUNTIME_VARIABLE

    given = os.environ.get(RUNTIME_VARIABLE, "")
    if given and not Path(given).is_absolute():
        yield Finding(
            "runtime folder",
            "bad",
            f"{RUNTIME_VARIABLE}={given} is relative: hook, daemon and commands would each look elsewhere",
            f"give it from the root: export {RUNTIME_VARIABLE}={Path('/tmp', given)}",
        )


def _other_daemons() -> Finding:
    """List the user's daemons on this host that this shell does not use: they take memory, and maybe the GPU."""
    from extrecon.daemon.place import find_place
    from extrecon.daemon.server import PROCESS_NAME

    own = find_place(os.environ).owner()
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() != PROCESS_NAME or process.uids().real != os.getuid() or process.pid == own:
                continue
            place = find_place(process.environ()).folder
            found.append(f"process {process.pid}, {place}, {_memory(process)}")
        except (psutil.Error, OSError, ExtreconError):
            continue
    advice = (
        f"in the shell that uses one: extrecon daemon stop; or kill {found[0].split()[1][:-1]}" if found else ""
    )
    return Finding("other daemons", "note" if found else "good", "; ".join(found) or "none", advice)


def _memory(process: psutil.Process) -> str:
    family = [process, *process.children(recursive=True)]
    return f"{sum(member.memory_info().rss for member in family) / 1e6:.0f} MB"


def _space(folder: Path | None) -> Finding:
    """Compare the free space with what the accumulators of the box at hand take: RELION never removes them."""
    place = folder or Path.cwd()
    free = disk.free_bytes(place)
    at_hand = disk.box_at_hand(place)
    box, padding = at_hand or (_EXAMPLE_BOX, _EXAMPLE_PADDING)
    iteration = _FILES_AN_ITERATION * disk.accumulator_bytes(box, padding)
    told = (
        f"{disk.bytes_text(free)} free; the accumulators take, at box {box}, padding {padding:g}: "
        f"{disk.bytes_text(iteration)} an iteration"
    )
    if at_hand is None:
        return Finding("disk", "good", told + " (an example: no refinement here)", "extrecon doctor JOBDIR")
    state: Literal["good", "note", "bad"] = "good"
    if free < _ITERATIONS * iteration:
        state = "bad" if free < iteration else "note"
    advice = f"room for {free // iteration} iterations; {_ROOM_ADVICE}" if state != "good" else ""
    return Finding("disk", state, told, advice)


_ROOM_ADVICE = "--remove-accumulators removes each iteration's once its map is there"


def _pictures() -> Finding:
    """Import what draws `extrecon run`'s picture."""
    try:
        import matplotlib
        from matplotlib.backends import backend_agg  # noqa: F401  only whether it can be
    except Exception as error:  # noqa: BLE001  a broken library raises anything
        return Finding("pictures", "note", f"matplotlib cannot be imported: {error}", "pip install matplotlib")
    return Finding("pictures", "good", f"matplotlib {matplotlib.__version__}")


def _plugins() -> Iterator[Finding]:
    from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, REGULARIZER_GROUP, available, load, missing_packages

    for what, group in (("regularizer", REGULARIZER_GROUP), ("local resolution", LOCAL_RESOLUTION_GROUP)):
        for name in available(group):
            try:
                plugin = load(name, group, to_work=False)
            except ExtreconError as error:
                yield Finding(f"{what} {name}", "bad", str(error), "reinstall the package that brings it")
                continue
            lacking, _, command_line = missing_packages(plugin).partition(": ")
            if lacking:
                yield Finding(f"{what} {name}", "note", lacking, command_line)
            else:
                yield from guarded(f"{what} {name}", partial(_readiness, f"{what} {name}", plugin))


def _readiness(what: str, plugin: Any) -> Finding:
    """Load what a plugin needs, such as weights, as the daemon would."""
    from extrecon.regularizer import Regularizer

    try:
        read = plugin.prepare(plugin.settings_type()) if isinstance(plugin, Regularizer) else ()
    except ExtreconError as error:
        return Finding(what, "bad", str(error), "reinstall the package that brings it")
    weights = f", has read {', '.join(str(path) for path in read)}" if read else ""
    return Finding(what, "good", f"version {plugin.version}{weights}")
