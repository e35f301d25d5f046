"""``extrecon daemon``: start, stop and look at the warm daemon that serves the hook."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import Annotated, Any

import typer

from extrecon.cli.console import JsonOption, console, print_json
from extrecon.daemon import connect, server
from extrecon.daemon.place import Place, find_place
from extrecon.errors import DaemonError

STOP_SECONDS = 3.0

app = typer.Typer(help="Start, stop and look at the warm daemon that does the hook's work.", no_args_is_help=True)
IdleOption = Annotated[
    float | None, typer.Option(min=0.01, metavar="MINUTES", help="End after so long without a question.")
]


@app.command()
def serve(idle_minutes: IdleOption = None) -> None:
    """Be the daemon, in the foreground."""
    ended = server.serve(server.idle_minutes() if idle_minutes is None else idle_minutes)
    if ended is None:
        raise DaemonError(f"a daemon is already running: {_summary(_ask() or {})}")
    console.print(f"ended: {ended}", highlight=False)


@app.command()
def start(idle_minutes: IdleOption = None) -> None:
    """Start the daemon in the background, and have it import what the first call needs."""
    environ = dict(os.environ)
    if idle_minutes is not None:
        environ[server.IDLE_VARIABLE] = str(idle_minutes)
    told = "started" if start_daemon(environ) else "already running"
    console.print(f"{told}: {_summary(find_place(os.environ).read_status())}", highlight=False)


@app.command()
def status(json: JsonOption = False) -> None:
    """Say whether the daemon runs, and what it is doing."""
    place = find_place(os.environ)
    told = _ask()
    if json:
        print_json({"is_running": told is not None, **(told or {})})
        raise typer.Exit(0 if told is not None else 1)
    if told is None:
        console.print(f"not running{_remains(place)}", highlight=False)
        raise typer.Exit(1)
    for line in describe(told):
        console.print(line, highlight=False, soft_wrap=True)


@app.command()
def stop() -> None:
    """Stop the daemon; a job that is under way goes on inside its hook."""
    console.print("stopped" if stop_daemon() else "not running", highlight=False)


def start_daemon(environ: dict[str, str]) -> bool:
    """Make sure that a daemon runs and warms up; tell whether it had to be started.

    Raises
    ------
    DaemonError : it cannot be started.
    """
    channel, started = connect.connect_or_start(environ)
    try:
        channel.send({"verb": "warm"})
        channel.receive()
    except (OSError, ValueError) as error:
        raise DaemonError(f"the daemon started but does not answer: {error}") from error
    finally:
        channel.close()
    return started


def stop_daemon() -> bool:
    """Stop the daemon and clear what a killed one left; tell whether one ran.

    Raises
    ------
    DaemonError : it does not end.
    """
    place = find_place(os.environ)
    owner = place.owner()
    try:
        answered = connect.ask({"verb": "stop"}, os.environ) is not None
    except DaemonError:  # it hangs: what follows is for that
        answered = False
    if owner is not None and not _is_gone(place, STOP_SECONDS if answered else 0.0):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(owner, number)
            if _is_gone(place, STOP_SECONDS):
                break
        else:
            raise DaemonError(f"process {owner} does not end")
    place.clear_if_unused()
    return answered or owner is not None


def _is_gone(place: Place, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while place.owner() is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def _ask() -> dict[str, Any] | None:
    return connect.ask({"verb": "status"}, os.environ)


def _remains(place: Place) -> str:
    told = place.read_status()
    if not told:
        return ""
    return f" (process {told.get('pid')} was killed; what it left in {place.folder} will be replaced)"


def _summary(told: dict[str, Any]) -> str:
    return f"process {told.get('pid')}, {told.get('socket')}"


def describe(told: dict[str, Any]) -> list[str]:
    """Return the lines for a status answer: what is going on first."""
    queue = len(told["queued"])
    work = "; ".join(told["running"])
    waits = f", queue {queue}" if queue else ""
    warm = told["warm"]
    if work:
        first = f"busy with {work}{waits}"
    elif queue:
        first = f"beginning{waits}"
    else:
        first = f"idle for {told['idle_seconds']:.0f} s; ends after {told['ends_after_idle_seconds'] / 60:g} min"
    state = "warm" if warm["ready"] else "cold until the first call"
    ready = f", ready: {', '.join(warm['prepared'])}" if warm["prepared"] else ""
    return [
        first,
        f"extrecon {told['version']}, {_summary(told)}, up {told['seconds_up']:.0f} s, {told['served']} calls",
        f"{state}, {warm['megabytes']} MB{ready}; Python {told['python']}",
    ]
