"""The program that RELION calls for every reconstruction: ``extrecon-hook [options] FILE.star``.

It starts in milliseconds: everything imported here is the standard library or written with it alone. The work is
done in a child process, so that a regularizer that is killed (by the out-of-memory killer, say) takes nothing
with it: the plain map is on disk by then, and RELION goes on with it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from extrecon.arguments import parse
from extrecon.errors import ExtreconError, UsageError, WorkerDiedError
from extrecon.files import temporary_prefix
from extrecon.options import Options
from extrecon.record import record_path

SIGNAL_EXIT_BASE = 128
FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the hook and return its exit code."""
    try:
        working_directory = Path.cwd()
        star, options = parse(sys.argv[1:] if arguments is None else arguments, os.environ, working_directory)
    except UsageError as error:
        _say_error(str(error))
        return error.exit_code
    return _Supervisor(star, options, working_directory).run()


class _Supervisor:
    """Runs the work in a child process and answers for it."""

    def __init__(self, star: Path, options: Options, working_directory: Path) -> None:
        self.star = star
        self.options = options
        self.working_directory = working_directory
        self._child = 0
        self._received: int | None = None

    def run(self) -> int:
        """Return the exit code for RELION."""
        sys.stdout.flush()
        sys.stderr.flush()
        for number in FORWARDED_SIGNALS:
            signal.signal(number, self._forward)
        self._child = os.fork()
        if self._child == 0:
            for number in FORWARDED_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os._exit(_work(self.star, self.options, self.working_directory))
        _, status = os.waitpid(self._child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code >= 0 and self._received is None:
            return code
        self._remove_temporary_files()
        if self._received is not None:
            _say_error(f"{self.star}: stopped by {signal.Signals(self._received).name}.")
            return SIGNAL_EXIT_BASE + self._received
        return self._after_death(signal.Signals(-code).name)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, number)

    def _remove_temporary_files(self) -> None:
        prefix = temporary_prefix(self.star.with_suffix(""))
        for path in self.star.parent.glob(f"{prefix}*.{self._child}.tmp"):
            path.unlink(missing_ok=True)

    def _after_death(self, signal_name: str) -> int:
        """Go on with the plain map if it was on disk when the child died, unless the user wants to fail."""
        path = record_path(self.star.with_suffix(""))
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            record = {}
        reason = f"the regularizing process was killed by {signal_name}; was memory short?"
        if record.get("outcome") != "unfinished" or self.options.text("on_error") == "fail":
            _say_error(f"{self.star}: no map returned: {reason}")
            return WorkerDiedError.exit_code
        record |= {
            "outcome": "fallback",
            "reason": f"{record.get('reason')}; but {reason}",
            "error": {"text": reason, "traceback": ""},
        }
        with suppress(OSError):
            path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _say(f"extrecon {self.star.stem}: WARNING: PLAIN MAP RETURNED ({reason})")
        return 0


def _work(star: Path, options: Options, working_directory: Path) -> int:
    """Do the job in this process and return the exit code; nothing escapes as an exception."""
    try:
        from extrecon.pipeline import run_job

        run_job(star, options, working_directory, _say)
    except ExtreconError as error:
        return error.exit_code
    except BaseException:  # noqa: BLE001  whatever it is, RELION's log must show it
        _say_error(f"{star}: unexpected error\n{traceback.format_exc()}")
        return ExtreconError.exit_code
    return 0


def _say(line: str) -> None:
    # One write a line: two ranks share RELION's log.
    with suppress(OSError):
        os.write(1, f" {line}\n".encode())


def _say_error(text: str) -> None:
    with suppress(OSError):
        os.write(2, f" extrecon: ERROR: {text}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
