"""When a regularizer has had its time. Standard library only.

Whoever waits for the work looks at these, not the work itself: it may be stopped, or busy for ever.
"""

from __future__ import annotations

from extrecon.call.request import Request

LOOK_SECONDS = 1.0
RECONSTRUCTING = "reconstruct"
"""The stage of `extrecon.call.pipeline` that makes the plain map."""
FIRST_STAGE = "load regularizer"
"""The stage of `extrecon.call.pipeline` with which regularizing begins; all before it serves the plain map."""
ABORT_FILE = "RELION_JOB_ABORT_NOW"
"""RELION's window leaves it in the job's folder to have it abort; RELION itself looks between its own steps."""


class Limits:
    """What may end a regularizer early.

    Parameters
    ----------
    request : the call
    """

    def __init__(self, request: Request) -> None:
        self._abort = request.star.with_name(ABORT_FILE)
        self._seconds = request.options.number("time_limit")

    def why_give_up(self, regularizing_seconds: float | None) -> str | None:
        """Return why the regularizer should be ended now, if it should.

        Parameters
        ----------
        regularizing_seconds : how long it has been at work, without its waits; None before it began: a plain map is
            always waited for
        """
        if regularizing_seconds is None:
            return None
        if self._abort.exists():
            return f"RELION was told to abort the job ({ABORT_FILE})"
        if 0 < self._seconds < regularizing_seconds:
            return f"the regularizer took longer than --time-limit {self._seconds:g} s"
        return None
