"""Who still uses the daemon: a lock that every `extrecon run` shares as long as it lives.

The kernel lets go of a lock however its holder ends, so a killed run keeps no daemon. The file names the daemon
that a run has started: whichever run ends last stops it, or the one that calls have started in its place meanwhile,
but never one that the user started.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from extrecon.cli.daemon import start_daemon, stop_daemon
from extrecon.daemon import connect
from extrecon.daemon.place import Place, find_place
from extrecon.errors import DaemonError

LOCK_SECONDS = 15.0
BUSY_SECONDS = 2.0
_POLL_SECONDS = 0.02


@contextmanager
def daemon_for_a_run() -> Iterator[None]:
    """Have a daemon; afterwards stop it if a run started it and nobody uses it any more.

    Raises
    ------
    DaemonError : it cannot be started.
    """
    place = find_place(os.environ)
    place.prepare()
    path = place.lock.with_suffix(".runs")
    descriptor = _share(path)
    try:
        _forget_a_daemon_of_old(place, descriptor)
        if start_daemon(dict(os.environ)):
            _note(descriptor, _identity(place))
        yield
    finally:
        _leave(place, path, descriptor)


def _share(path: Path) -> int:
    """Return a descriptor with a share of the lock; whoever holds it whole is stopping the daemon just now."""
    deadline = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):  # who stopped the daemon removed file or folder this very moment
            descriptor = _open(path)
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            os.close(descriptor)
        time.sleep(_POLL_SECONDS)
    raise DaemonError(f"{path} has been locked for {LOCK_SECONDS:.0f} s by a run that stops the daemon")


def _open(path: Path) -> int:
    with suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DaemonError(f"{path} cannot be used: {error.strerror}") from None


def _leave(place: Place, path: Path, descriptor: int) -> None:
    try:
        with suppress(OSError, DaemonError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while another run lives
            is_ours = bool(_noted(descriptor)) and place.owner() is not None
            is_busy = is_ours and _is_busy()
            if is_ours and not is_busy:
                stop_daemon()
            if not is_busy:
                path.unlink(missing_ok=True)
                path.parent.rmdir()
    finally:
        os.close(descriptor)


def _is_busy() -> bool:
    """Tell whether the daemon works for somebody else; a call of our own that was cut off ends at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        told = connect.ask({"verb": "status"}, os.environ)
        if told is None or not (told.get("running") or told.get("queued")):
            return False
        if time.monotonic() >= deadline:
            return True
        time.sleep(_POLL_SECONDS)


def _identity(place: Place) -> str:
    """Return what tells this daemon from all others; empty if none runs."""
    told = place.read_status()
    return "" if place.owner() is None else f"{told.get('boot')} {told.get('pid')} {told.get('start_time')}"


def _forget_a_daemon_of_old(place: Place, descriptor: int) -> None:
    """Forget what killed runs noted of a daemon that is gone; other runs that live know better."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _noted(descriptor) != _identity(place):
            _note(descriptor, "")
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def _noted(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace")


def _note(descriptor: int, text: str) -> None:
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
