"""Signals that the daemon's first caller blocked or ignored. Standard library only."""

from __future__ import annotations

import signal
from contextlib import suppress

_KEPT = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGKILL, signal.SIGSTOP}


def default_signals() -> None:
    """Start as a program does that nobody has prepared: nothing blocked, nothing ignored, no handlers.

    The daemon inherits what its first caller blocked or ignored, and would hand it on to everybody's work. What
    Python itself ignores (a pipe without a reader, a file too large) stays as it is.
    """
    for number in signal.valid_signals() - _KEPT:
        with suppress(OSError, ValueError):  # some belong to the C library
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
