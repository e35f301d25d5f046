"""One call in this program: the work is done in a child process, and this one answers for it.

A regularizer that is killed (by the out-of-memory killer, say), that ends the process, or never ends, takes nothing
with it: the plain map is on disk by then, and RELION goes on with it. Standard library only until the work starts.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from extrecon.call.fallback import Aftermath
from extrecon.call.limits import FIRST_STAGE, LOOK_SECONDS, RECONSTRUCTING, Limits
from extrecon.call.request import Request
from extrecon.call.room import Room
from extrecon.errors import ExtreconError
from extrecon.system.devices import threads_of_a_call
from extrecon.system.files import remove_temporary_files
from extrecon.system.limits import require_memory
from extrecon.system.memory import keep_freed_memory
from extrecon.system.processes import (
    Waker,
    die_with_parent,
    forget_inherited_signals,
    name_of_signal,
    signals_handled,
)
from extrecon.system.relion_log import keep_log, say, say_error

_LAST_WORD_SECONDS = 5.0
_LOOKS_STOPPED = 5
_AT_WORK, _ASIDE, _BACK, _LAST_WORD = b"R", b"A", b"B", b"="


class Supervisor:
    """Runs the work in a child process and answers for it.

    Parameters
    ----------
    request : what to do
    served_by : what the record's field ``daemon`` shall say
    """

    def __init__(self, request: Request, served_by: str) -> None:
        self.request = request
        self.served_by = served_by
        self._child = 0
        self._waker = Waker(_LOOKS_STOPPED)
        self._received: int | None = None

    def run(self) -> int:
        """Return the exit code for RELION."""
        try:
            require_memory()
        except ExtreconError as error:
            say_error(f"{self.request.star}: no map returned: {error}")
            return error.exit_code
        _flush()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a child's end would be lost if it is ignored
        aftermath = Aftermath(self.request)
        reader, writer = os.pipe()
        with signals_handled(self._stop):
            self._child = os.fork()
            if self._child == 0:
                os.close(reader)
                self._work(writer)
            os.close(writer)
            if self._received is not None:  # it came before there was a child to stop
                self._kill()
            told, ended = self._answer_for(reader)
            os.close(reader)
            return self._conclude(aftermath, told, ended)

    def _conclude(self, aftermath: Aftermath, told: _Told, ended: str) -> int:
        if self._received is None and told.code is not None:
            return aftermath.conclude(told.code, "")
        remove_temporary_files(self.request.star, self._child)
        if self._received is not None:
            return aftermath.stopped(name_of_signal(self._received), self._received)
        return aftermath.conclude(None, told.given_up or ended)

    def _work(self, writer: int) -> None:
        """Be the child: do the work, tell its code, and end."""
        forget_inherited_signals()
        die_with_parent()
        reports = _Reports(writer, self.request)
        code = work(self.request, served_by=self.served_by, progress=reports.stage, aside=reports.aside)
        reports.tell(_LAST_WORD, code)
        os._exit(code)

    def _answer_for(self, reader: int) -> tuple[_Told, str]:
        """Wait for the child's end, or end it; return what it told, and how it ended."""
        told, limits = _Told(), Limits(self.request)
        is_open = True
        while True:
            ready = select.select([reader] if is_open else [], [], [], _look_seconds(told))[0]
            if ready:
                is_open = told.hear(os.read(reader, 4096))
            reason = limits.why_give_up(told.regularizing_seconds())
            if reason is not None and told.code is None:
                told.given_up = reason
                self._kill()
            elif told.silent_since_last_word() > _LAST_WORD_SECONDS:
                self._kill()
            self._waker.look(self._child)
            # What a plugin has left running may hold the pipe open: its end is no condition.
            pid, status = os.waitpid(self._child, 0 if told.given_up or self._received else os.WNOHANG)
            if pid:
                while is_open and select.select([reader], [], [], 0)[0]:
                    is_open = told.hear(os.read(reader, 4096))
                return told, _how_it_ended(status)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
        if self._child:
            self._kill()

    def _kill(self) -> None:
        # Not more politely: a process that is stopped hears nothing else.
        with suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)


class _Told:
    """What the child has told so far.

    Attributes
    ----------
    code : its exit code; None before its last word
    given_up : why it was ended by us, if it was
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self.given_up: str | None = None
        self._rest = b""
        self._is_regularizing = False
        self._began: float | None = None
        self._spent = 0.0
        self._ended: float | None = None

    def hear(self, data: bytes) -> bool:
        """Take note of what was read; return whether more may come."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        now = time.monotonic()
        for line in lines:
            kind, value = line[:1], line[1:]
            if kind == _LAST_WORD and value.isdigit():
                self.code, self._ended = int(value), now
            elif kind == _ASIDE and self._began is not None:
                self._spent += now - self._began
                self._began = None
            elif kind in (_AT_WORK, _BACK) and self._began is None:
                self._is_regularizing, self._began = True, now
        return bool(data)

    def regularizing_seconds(self) -> float | None:
        """Return how long the regularizer has been at work, without its waits; None before it began."""
        if not self._is_regularizing:
            return None
        return self._spent + (0.0 if self._began is None else time.monotonic() - self._began)

    def silent_since_last_word(self) -> float:
        """Return for how long the child has had nothing left to do but end."""
        return 0.0 if self._ended is None else time.monotonic() - self._ended


class _Reports:
    """The child's end: a few bytes about what it is doing; and its turn, where memory is short.

    Parameters
    ----------
    writer : of the pipe to the parent
    request : what is done
    """

    def __init__(self, writer: int, request: Request) -> None:
        self._writer = writer
        self._request = request.absolute
        self._is_regularizing = False
        self._room = Room(self._request.star.parent)

    def tell(self, kind: bytes, value: int | None = None) -> None:
        """Tell one thing; nobody may be there any more, or a plugin may have closed the pipe."""
        with suppress(OSError):
            os.write(self._writer, kind + (b"" if value is None else str(value).encode()) + b"\n")

    def stage(self, name: str, _fraction: float) -> None:
        """Wait for this half's turn; tell when the regularizer's time begins."""
        if name == RECONSTRUCTING:
            self._wait_for_room()
        elif name == FIRST_STAGE and not self._is_regularizing:
            self._is_regularizing = True
            self._wait_for_room()
            self.tell(_AT_WORK)
        elif not self._is_regularizing:
            self._room.leave()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let the other half work, and tell that what passes now is not the regularizer's time."""
        self.tell(_ASIDE)
        self._room.leave()
        try:
            yield
        finally:
            self._wait_for_room()
            self.tell(_BACK)

    def _wait_for_room(self) -> None:
        from extrecon.call.memory import plain_map_bytes_of, regularizing_bytes_of

        star, options = self._request.star, self._request.options
        if self._is_regularizing:
            needed = regularizing_bytes_of(star, options.text("regularizer"))
        else:
            cores = len(os.sched_getaffinity(0))
            needed = plain_map_bytes_of(star, threads_of_a_call(int(options.number("threads")), cores))
        self._room.enter(needed)


def _look_seconds(told: _Told) -> float:
    """Return how long to wait for a word before looking at the limits again; after the last word, not long."""
    return LOOK_SECONDS if told.code is None else 0.05


def _how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"the regularizing process was killed by {name_of_signal(-code)}; was memory short?"
    return f"the regularizing process ended itself with code {code}"


def work(request: Request, **how: Any) -> int:
    """Do the job in this process and return the exit code; nothing escapes as an exception.

    Parameters
    ----------
    request : what to do
    how : the further arguments of `extrecon.call.pipeline.run_job` by name
    """
    keep_freed_memory()
    keep_log()
    code = _code_of(lambda: _run_job(request, how), request)
    _flush()  # a plugin may have printed
    return code


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # there may be no log, or it is closed
            stream.flush()


def _run_job(request: Request, how: dict[str, Any]) -> None:
    from extrecon.call.pipeline import run_job

    run_job(request, say, **how)


def _code_of(run: Callable[[], None], request: Request) -> int:
    try:
        run()
    except ExtreconError as error:
        return error.exit_code
    except BaseException:  # noqa: BLE001  whatever it is, RELION's log must show it
        import traceback

        say_error(f"{request.star}: unexpected error\n{traceback.format_exc()}")
        return ExtreconError.exit_code
    return 0
