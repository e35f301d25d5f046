"""The daemon's process: one at its place, announced by a status file, held by a lock."""

from __future__ import annotations

import json
import math
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import extrecon
from extrecon.daemon.dispatcher import Dispatcher
from extrecon.daemon.place import Place, find_place, take_lock
from extrecon.daemon.protocol import PROTOCOL
from extrecon.errors import DaemonError, ExtreconError
from extrecon.system.files import replacing
from extrecon.system.limits import require_memory
from extrecon.system.processes import boot_id, name_this_process, start_time

IDLE_MINUTES = 120.0
IDLE_VARIABLE = "EXTRECON_IDLE_MINUTES"
LEAST_IDLE_SECONDS = 0.5
"""Less would end a daemon under the client that has just started it."""
PROCESS_NAME = "extrecon-daemon"


def _write_status(place: Place) -> None:
    told: dict[str, Any] = {
        "pid": os.getpid(),
        "start_time": start_time(os.getpid()),
        "boot": boot_id(),
        "host": socket.gethostname(),
        "socket": str(place.socket),
        "version": extrecon.__version__,
        "protocol": PROTOCOL,
        "python": sys.executable,
    }
    with replacing(place.status) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def idle_minutes(environ: Mapping[str, str] = os.environ) -> float:
    """Return after how many idle minutes a daemon ends, as the environment says.

    Raises
    ------
    DaemonError : it says something that is not a number above 0.
    """
    given = environ.get(IDLE_VARIABLE) or str(IDLE_MINUTES)
    try:
        minutes = float(given)
    except ValueError:
        minutes = math.nan
    if not minutes > 0:  # nan is not above anything
        raise DaemonError(f"{IDLE_VARIABLE} is {given!r}, but must be a number of minutes above 0")
    return minutes


def serve(minutes: float | None = None, ready: int | None = None, keeper: int = 0) -> str | None:
    """Be the daemon, and return why it ended; None if there is one already.

    Parameters
    ----------
    minutes : idle minutes after which to end; None for what the environment says
    ready : a descriptor that is told "ready", or what is wrong
    keeper : the process that clears up if this one is killed; 0 if there is none

    Raises
    ------
    DaemonError : it cannot work here.
    """
    try:
        minutes = idle_minutes() if minutes is None else minutes
        place = find_place(os.environ)
        require_memory()
        place.prepare()
        lock = take_lock(place.lock)
        if lock is None:
            _tell_starter(ready, "ready")
            return None
        name_this_process(PROCESS_NAME)
        dispatcher = Dispatcher(place, lock, max(60 * minutes, LEAST_IDLE_SECONDS), keeper)
        _write_status(place)
    except (OSError, ExtreconError) as error:
        _tell_starter(ready, str(error))
        raise DaemonError(str(error)) from error
    _tell_starter(ready, "ready")
    try:
        return dispatcher.serve()
    finally:
        os.close(lock)


def _tell_starter(ready: int | None, text: str) -> None:
    if ready is not None:
        with suppress(OSError):
            os.write(ready, text.encode())
            os.close(ready)
