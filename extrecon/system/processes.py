"""Which process is meant, and who outlives whom. Standard library only.

A process's number is used again after its end, so a start time belongs to each.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is gone or only waits to be reaped."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name before it, in parentheses, may hold anything.
    fields = told.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_stopped(pid: int) -> bool:
    """Tell whether a process has been stopped, by SIGSTOP say, and so cannot answer."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return told.rpartition(b")")[2].split()[:1] in ([b"T"], [b"t"])


class Waker:
    """Has a process go on that something has stopped.

    Looks are counted, not seconds: a batch system that suspends a whole job stops this process as well.

    Parameters
    ----------
    looks : how often in a row it must be seen stopped
    """

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._seen = 0

    def look(self, pid: int) -> None:
        """Look at the process, and wake it if it is time to."""
        self._seen = self._seen + 1 if is_stopped(pid) else 0
        if self._seen > self._looks:
            self._seen = 0
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def boot_id() -> str:
    """Return what tells this boot of this machine from all others."""
    with suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return ""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def name_this_process(name: str) -> None:
    """Have ``ps`` and ``top`` show a name of up to 15 characters, where they do not show the command."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def signals_handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have ``handler`` called for the signals that stop a program, but for those that it was started to ignore.

    ``nohup`` and shells that put a job into the background start programs so. In a program that
    `ends_with_what_it_does` they are ignored once all went well: a signal that comes later must not undo it.
    """
    wanted = [number for number in STOPPING_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in wanted}
    done = False
    try:
        yield
        done = True
    finally:
        for number, found in before.items():
            # None is a handler that Python did not install; it cannot be put back.
            earlier = signal.SIG_DFL if found is None else found
            signal.signal(number, signal.SIG_IGN if done and _ENDS_WITH_WHAT_IT_DOES else earlier)


def ignore_stopping_signals() -> None:
    """Ignore the signals that stop a program, once one has come: a second must not break off the stopping."""
    for number in STOPPING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


_ENDS_WITH_WHAT_IT_DOES: list[bool] = []


def ends_with_what_it_does() -> None:
    """Say of this process that it has nothing to do after what `signals_handled` surrounds but to end."""
    _ENDS_WITH_WHAT_IT_DOES.append(True)


def forget_inherited_signals() -> None:
    """Make this process hear signals as a new program should: none blocked, ours handled no more.

    What is ignored stays ignored: whoever started RELION under ``nohup``, say, meant all that it starts.
    """
    for number in (*STOPPING_SIGNALS, signal.SIGALRM, signal.SIGCHLD):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def name_of_signal(number: int) -> str:
    """Return a signal's name; real-time signals have none but their number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
