"""The client: hands a job to the daemon, starting one if there is none. Standard library only.

Whatever goes wrong here is a `DaemonError` with the reason: the hook then does the work by itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import extrecon
from extrecon.call.fallback import Aftermath
from extrecon.call.limits import LOOK_SECONDS, Limits
from extrecon.call.request import Request
from extrecon.daemon.connect import ANSWER_SECONDS, connect_or_start, identity
from extrecon.daemon.protocol import PROTOCOL, Channel, Message
from extrecon.errors import DaemonError
from extrecon.system.files import remove_temporary_files
from extrecon.system.limits import privileges
from extrecon.system.processes import (
    Waker,
    ignore_stopping_signals,
    name_of_signal,
    signals_handled,
    start_time,
)
from extrecon.system.relion_log import say, say_error

CANCEL_SECONDS = 5.0
ATTEMPTS = 3
_POLL_SECONDS = 0.02
_FIRST_WORD_SECONDS, _NEXT_WORD_SECONDS = 20.0, 60.0
_LOOKS_STOPPED = 5


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


class _Stopwatch:
    """For how long the regularizer has been at work, without its waits."""

    def __init__(self) -> None:
        self._spent: float | None = None
        self._began: float | None = None

    def turn(self, *, on: bool) -> None:
        """Take note that it begins, or goes on, to work or to wait."""
        self._spent = self.seconds or 0.0
        self._began = time.monotonic() if on else None

    @property
    def seconds(self) -> float | None:
        """The time up to now; None before its turn to be."""
        if self._spent is None:
            return None
        return self._spent + (0.0 if self._began is None else time.monotonic() - self._began)


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
        self._regularizing = _Stopwatch()
        self._channel: Channel | None = None
        self._runner: tuple[int, int] | None = None
        self._waker = Waker(_LOOKS_STOPPED)
        self._next_word = _FIRST_WORD_SECONDS

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
            channel.socket.settimeout(LOOK_SECONDS)
            return self._await_verdict(channel)
        except TimeoutError:
            raise self._broken(_silent()) from None
        except (OSError, ValueError, TypeError, LookupError) as error:  # a plugin may have written something there
            raise self._broken(f"the connection to the daemon broke: {error}") from None

    def _await_verdict(self, channel: Channel) -> Message:
        begin = heard = time.monotonic()
        accepted = False
        while True:
            message = self._next_message(channel)
            now = time.monotonic()
            if message is None and not accepted:
                # It gave way to another one before it had looked at this call.
                return {"verdict": "restart", "reason": "the daemon ended before it took the call"}
            if message is None:
                raise self._broken("the daemon died")
            if "verdict" in message:
                return message
            if message or self._runner_lives():
                heard = now
            if now - heard > ANSWER_SECONDS:
                raise self._broken(_silent())
            if "accepted" in message:
                accepted = True
                # Not before: a daemon that hangs would keep RELION's log from ever ending.
                _tell(channel, {"verb": "log"}, [1, 2])
            self._note(message, now - begin)

    def _next_message(self, channel: Channel) -> Message | None:
        """Return what is told; None at the end of the connection, nothing if it is time to look at the runner."""
        try:
            return channel.receive()
        except TimeoutError:
            return {}

    def _note(self, message: Message, waited: float) -> None:
        """Take note of what is told of the job, and see whether it is to go on."""
        if "started" in message:
            pid, ticks = message["started"]
            self._runner = int(pid), int(ticks)
        if "regularizing" in message:
            self._regularizing.turn(on=bool(message["regularizing"]))
        if not message and self._runner is not None and self._runner_lives():
            self._waker.look(self._runner[0])
        reason = self._limits.why_give_up(self._regularizing.seconds)
        if reason is not None:
            raise _GaveUp(reason)
        if message.get("waits_for") and waited > self._next_word:
            say(f"extrecon {self.request.star.stem}: waiting for {waited:.0f} s: {message['waits_for']}")
            self._next_word = waited + _NEXT_WORD_SECONDS

    def _runner_lives(self) -> bool:
        return self._runner is not None and start_time(self._runner[0]) == self._runner[1]

    def _conclude(self, verdict: Message) -> int:
        kind, reason = verdict["verdict"], str(verdict.get("reason", "the daemon gave no reason"))
        if kind == "done" and isinstance(verdict.get("code"), int):
            return self.aftermath.conclude(verdict["code"], "")
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


def _silent() -> str:
    return f"the daemon did not answer for {ANSWER_SECONDS:.0f} s"


def _tell(channel: Channel, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send a message; if nobody is there any more, the verdict may still lie unread."""
    with suppress(BrokenPipeError, ConnectionResetError):
        channel.send(message, descriptors)
