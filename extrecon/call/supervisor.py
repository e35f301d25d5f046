"""One call in this program: the work is done in a child process, and this one answers for it.

A regularizer that is killed (by the out-of-memory killer, say) takes nothing with it: the plain map is on disk by
then, and RELION goes on with it. Standard library only until the work starts.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from extrecon.call.fallback import after_death
from extrecon.errors import ExtreconError
from extrecon.options import Options
from extrecon.system.files import remove_temporary_files
from extrecon.system.processes import die_with_parent
from extrecon.system.relion_log import say, say_error

SIGNAL_EXIT_BASE = 128
FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    """Runs the work in a child process and answers for it.

    Parameters
    ----------
    star : the STAR file that RELION wrote
    options : effective options
    working_directory : RELION's
    served_by : what the record's field ``daemon`` shall say
    """

    def __init__(self, star: Path, options: Options, working_directory: Path, served_by: str) -> None:
        self.star = star
        self.options = options
        self.working_directory = working_directory
        self.served_by = served_by
        self._child = 0
        self._received: int | None = None

    def run(self) -> int:
        """Return the exit code for RELION."""
        _flush()
        for number in FORWARDED_SIGNALS:
            signal.signal(number, self._forward)
        self._child = os.fork()
        if self._child == 0:
            for number in FORWARDED_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            die_with_parent()
            os._exit(work(self.star, self.options, self.working_directory, served_by=self.served_by))
        _, status = os.waitpid(self._child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code >= 0 and self._received is None:
            return code
        remove_temporary_files(self.star, self._child)
        if self._received is not None:
            say_error(f"{self.star}: stopped by {signal.Signals(self._received).name}.")
            return SIGNAL_EXIT_BASE + self._received
        return after_death(self.star, self.options, signal.Signals(-code).name)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, number)


def work(star: Path, options: Options, working_directory: Path, **how: Any) -> int:
    """Do the job in this process and return the exit code; nothing escapes as an exception.

    Parameters
    ----------
    star, options, working_directory : as `extrecon.call.pipeline.run_job` takes them
    how : its further arguments by name
    """
    code = _code_of(lambda: _run_job(star, options, working_directory, how), star)
    _flush()  # a plugin may have printed
    return code


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # there may be no log, or it is closed
            stream.flush()


def _run_job(star: Path, options: Options, working_directory: Path, how: dict[str, Any]) -> None:
    from extrecon.call.pipeline import run_job

    run_job(star, options, working_directory, say, **how)


def _code_of(run: Callable[[], None], star: Path) -> int:
    try:
        run()
    except ExtreconError as error:
        return error.exit_code
    except BaseException:  # noqa: BLE001  whatever it is, RELION's log must show it
        import traceback

        say_error(f"{star}: unexpected error\n{traceback.format_exc()}")
        return ExtreconError.exit_code
    return 0
