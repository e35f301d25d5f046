"""Finding the daemon, or starting one. Standard library only.

Whatever goes wrong here is a `DaemonError` with the reason: the hook then does the work by itself.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import extrecon
from extrecon.daemon.place import Place, find_place, take_lock
from extrecon.daemon.protocol import Channel, Message, peer
from extrecon.errors import DaemonError
from extrecon.system.processes import is_stopped

ANSWER_SECONDS = 10.0
"""A daemon never computes: one that is silent for so long hangs, or loads from a file system that is slow."""
START_SECONDS = 30.0
_POLL_SECONDS = 0.02


def identity(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what must be the same in client and daemon for their results to be the same."""
    return {
        "version": extrecon.__version__,
        "python": f"{sys.prefix} {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}",
        "program": str(Path(extrecon.__file__).parent),
        "PYTHONPATH": absolute_search_path(environ),
    }


def absolute_search_path(environ: Mapping[str, str]) -> str:
    """Return PYTHONPATH as it reads from any working directory."""
    given = environ.get("PYTHONPATH", "")
    return os.pathsep.join(os.path.abspath(part) for part in given.split(os.pathsep)) if given else ""  # noqa: PTH100


def ask(message: Message, environ: Mapping[str, str]) -> Message | None:
    """Send one question to a running daemon and return its answer; None if none runs.

    Raises
    ------
    DaemonError : it cannot be trusted, or does not answer.
    """
    place = find_place(environ)
    if not place.folder.exists():
        return None
    place.prepare()
    channel = _connect(place)
    if channel is None:
        return None
    channel.socket.settimeout(ANSWER_SECONDS)
    try:
        channel.send(message)
        return channel.receive()
    except TimeoutError:
        raise DaemonError(f"the daemon did not answer for {ANSWER_SECONDS:.0f} s") from None
    except (OSError, ValueError) as error:
        raise DaemonError(f"the connection to the daemon broke: {error}") from None
    finally:
        channel.close()


def connect_or_start(environ: Mapping[str, str]) -> tuple[Channel, bool]:
    """Return a connection, and whether the daemon had to be started for it.

    Raises
    ------
    DaemonError : there is none and none could be started, or what there is cannot be trusted.
    """
    place = find_place(environ)
    place.prepare()
    channel = _connect(place)
    if channel is not None:
        return channel, False
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with _start_lock(place) as held:
            channel = _connect(place)
            if channel is None and held:
                _start(place, environ, deadline)
                channel = _connect(place)
        if channel is not None:
            return channel, True
        time.sleep(_POLL_SECONDS)
    raise DaemonError(f"no daemon could be reached within {START_SECONDS:.0f} s; see {place.log}")


@contextmanager
def _start_lock(place: Place) -> Iterator[bool]:
    place.prepare()
    try:
        descriptor = take_lock(place.start_lock)
    except FileNotFoundError:  # a daemon that ended removed the folder this very moment
        descriptor = None
    except OSError as error:
        raise DaemonError(f"{place.start_lock} cannot be used: {error.strerror}") from None
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _connect(place: Place) -> Channel | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(place.socket))
        pid, user, _ = peer(connection)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise DaemonError(f"the socket {place.socket} cannot be used: {error.strerror or error}") from None
    if user != os.geteuid():
        connection.close()
        raise DaemonError(f"the socket {place.socket} is served by user {user}, not by user {os.geteuid()}")
    if is_stopped(pid):
        connection.close()
        raise DaemonError(f"the daemon, process {pid}, is stopped; kill -CONT {pid} lets it go on")
    return Channel(connection)


def _start(place: Place, environ: Mapping[str, str], deadline: float) -> None:
    """Start a daemon and wait until it listens."""
    import subprocess

    reader, writer = os.pipe()
    variables = {**environ, "PYTHONPATH": absolute_search_path(environ)}
    # An mpiexec's own folder for temporary files is gone before the daemon is.
    variables.pop("TMPDIR", None)
    try:
        with place.log.open("wb") as log:
            # It leaves its child behind at once: the daemon is nobody's to wait for.
            subprocess.run(
                [sys.executable, "-P", "-m", "extrecon.daemon.keeper", str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=variables,
                pass_fds=[writer],
                start_new_session=True,
                check=False,
            )
    except OSError as error:
        os.close(reader)
        raise DaemonError(f"the daemon could not be started: {error}") from None
    finally:
        os.close(writer)
    try:
        told = _read_readiness(reader, deadline)
    finally:
        os.close(reader)
    if told != "ready":
        raise DaemonError(f"the daemon did not start: {told or _last_line(place.log)}")


def _read_readiness(reader: int, deadline: float) -> str:
    ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
    return os.read(reader, 4096).decode(errors="replace").strip() if ready else "it took too long"


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return "it said nothing"
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
