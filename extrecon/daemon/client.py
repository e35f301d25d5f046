"""The client: hands a job to the daemon, starting one if there is none. Standard library only.

Whatever goes wrong here is a `DaemonError` with the reason: the hook then does the work by itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import extrecon
from extrecon.call.fallback import Aftermath
from extrecon.call.limits import Limits
from extrecon.call.request import Request
from extrecon.daemon.place import Place, find_place, take_lock
from extrecon.daemon.protocol import PROTOCOL, Channel, Message, peer
from extrecon.errors import DaemonError
from extrecon.system.files import remove_temporary_files
from extrecon.system.limits import privileges
from extrecon.system.processes import (
    Waker,
    ignore_stopping_signals,
    is_stopped,
    name_of_signal,
    signals_handled,
    start_time,
)
from extrecon.system.relion_log import say, say_error

ANSWER_SECONDS = 10.0
"""A broker never computes: one that is silent for so long hangs."""
START_SECONDS = 30.0
CANCEL_SECONDS = 5.0
ATTEMPTS = 3
_POLL_SECONDS = 0.02
_FIRST_WORD_SECONDS, _NEXT_WORD_SECONDS = 20.0, 60.0
_BEATS_STOPPED = 3


class _Stopped(BaseException):
    """A signal came while the daemon was at work."""

    def __init__(self, number: int) -> None:
        self.number = number


def call(request: Request) -> int:
    """Have the daemon do a job and return the hook's exit code.

    Raises
    ------
    DaemonError : the daemon could not do it; nothing of the job runs any more.
    """
    client = _Call(request)
    with signals_handled(_raise_stopped):
        try:
            return client.run()
        except _Stopped as stopped:
            client.cancel()
            return client.aftermath.stopped(name_of_signal(stopped.number), stopped.number)
        except _GaveUp as gave_up:
            client.cancel()
            return client.aftermath.conclude(None, gave_up.reason)
        finally:
            client.close()


def _raise_stopped(number: int, _frame: FrameType | None) -> None:
    ignore_stopping_signals()
    raise _Stopped(number)


class _GaveUp(Exception):  # noqa: N818  a decision, not an error
    """The regularizer has had its time."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Call:
    """One job in the daemon's hands.

    Attributes
    ----------
    aftermath : tells what the job has left behind
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.aftermath = Aftermath(request)
        self._limits = Limits(request)
        self._channel: Channel | None = None
        self._runner: tuple[int, int] | None = None
        self._waker = Waker(_BEATS_STOPPED)

    def run(self) -> int:
        """Return the exit code."""
        served_by, reason = "warm", ""
        for _ in range(ATTEMPTS):
            self._channel, started = connect_or_start(os.environ)
            if started and served_by == "warm":
                served_by = "started"
            verdict = self._hand_over(served_by)
            if verdict["verdict"] != "restart":
                return self._conclude(verdict)
            self._channel.close()
            reason = str(verdict.get("reason"))
            served_by = f"restarted: {reason}"
        raise DaemonError(f"the daemon wanted to restart {ATTEMPTS} times: {reason}")

    def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            self._channel.close()

    def cancel(self) -> None:
        """Give the job up; return when nothing of it runs any more."""
        if self._channel is None:
            return
        deadline = time.monotonic() + CANCEL_SECONDS
        with suppress(OSError, ValueError):
            self._channel.socket.settimeout(CANCEL_SECONDS)
            self._channel.send({"verb": "cancel"})
            while time.monotonic() < deadline:
                message = self._channel.receive()
                if message is None or "verdict" in message:
                    break
        self._end_runner()

    def _hand_over(self, served_by: str) -> Message:
        """Send the job and return the verdict."""
        channel = self._channel
        if channel is None:
            raise DaemonError("there is no connection")
        channel.socket.settimeout(ANSWER_SECONDS)
        try:
            _tell(channel, self._message(served_by))
            return self._await_verdict(channel)
        except TimeoutError:
            raise self._broken(f"the daemon did not answer for {ANSWER_SECONDS:.0f} s") from None
        except (OSError, ValueError) as error:
            raise self._broken(f"the connection to the daemon broke: {error}") from None

    def _await_verdict(self, channel: Channel) -> Message:
        begin = time.monotonic()
        next_word = _FIRST_WORD_SECONDS
        accepted = False
        while True:
            message = channel.receive()
            if message is None and not accepted:
                # It gave way to another one before it had looked at this call.
                return {"verdict": "restart", "reason": "the daemon ended before it took the call"}
            if message is None:
                raise self._broken("the daemon died")
            if "verdict" in message:
                return message
            if "accepted" in message:
                accepted = True
                # Not before: a daemon that hangs would keep RELION's log from ever ending.
                _tell(channel, {"verb": "log"}, [1, 2])
            if "started" in message:
                pid, ticks = message["started"]
                self._runner = int(pid), int(ticks)
            if "beat" in message:
                self._wake_runner()
            reason = self._limits.why_give_up(message.get("regularizing"))
            if reason is not None:
                raise _GaveUp(reason)
            waited = time.monotonic() - begin
            if message.get("waits_for") and waited > next_word:
                say(f"extrecon {self.request.star.stem}: waiting for {waited:.0f} s: {message['waits_for']}")
                next_word = waited + _NEXT_WORD_SECONDS

    def _wake_runner(self) -> None:
        if self._runner is not None and start_time(self._runner[0]) == self._runner[1]:
            self._waker.look(self._runner[0])

    def _conclude(self, verdict: Message) -> int:
        kind, reason = verdict["verdict"], str(verdict.get("reason", "the daemon gave no reason"))
        if kind == "done":
            return self.aftermath.conclude(int(verdict["code"]), "")
        self._end_runner()
        if kind == "died":
            how = f"the regularizing process {verdict['how']}"
            if self.aftermath.regularizer_had_begun():
                return self.aftermath.conclude(None, how)
            raise DaemonError(f"the daemon's process {verdict['how']}")
        if verdict.get("traceback"):
            say_error(f"the daemon crashed:\n{verdict['traceback']}")
        raise DaemonError(reason)

    def _broken(self, reason: str) -> DaemonError:
        self._end_runner()
        return DaemonError(reason)

    def _end_runner(self) -> None:
        """Make sure that no orphan still writes results, and remove what it left unfinished."""
        if self._runner is None:
            return
        pid, ticks = self._runner
        while start_time(pid) == ticks:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
        remove_temporary_files(self.request.star, pid)

    def _message(self, served_by: str) -> Message:
        umask = os.umask(0o077)
        os.umask(umask)
        return {
            "verb": "run",
            "protocol": PROTOCOL,
            "version": extrecon.__version__,
            "identity": identity(os.environ),
            "privileges": privileges(),
            **self.request.to_message(),
            "served_by": served_by,
            "umask": umask,
            "cores": sorted(os.sched_getaffinity(0)),
            "environ": dict(os.environ),
        }


def _tell(channel: Channel, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send a message; if nobody is there any more, the verdict may still lie unread."""
    with suppress(BrokenPipeError, ConnectionResetError):
        channel.send(message, descriptors)


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
    """Start a broker and wait until it listens."""
    import subprocess

    reader, writer = os.pipe()
    variables = {**environ, "PYTHONPATH": absolute_search_path(environ)}
    # An mpiexec's own folder for temporary files is gone before the daemon is.
    variables.pop("TMPDIR", None)
    try:
        with place.log.open("wb") as log:
            # It leaves its child behind at once: the daemon is nobody's to wait for.
            subprocess.run(
                [sys.executable, "-P", "-m", "extrecon.daemon.server", "--ready", str(writer)],
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
