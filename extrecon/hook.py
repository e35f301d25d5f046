"""The program that RELION calls for every reconstruction: ``extrecon-hook [options] FILE.star``.

It starts in milliseconds: everything imported here is the standard library or written with it alone. The work is
done by the warm daemon, or by a child process of this one where there is no daemon to be had.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from extrecon.call.request import Request
from extrecon.errors import DaemonError, UsageError
from extrecon.options.command_line import parse
from extrecon.system.processes import ends_with_what_it_does
from extrecon.system.relion_log import open_what_is_closed, say_error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the hook and return its exit code."""
    open_what_is_closed()
    ends_with_what_it_does()
    try:
        working_directory = _working_directory()
        words = sys.argv[1:] if arguments is None else arguments
        request = Request(*parse(words, os.environ, working_directory), working_directory)
    except UsageError as error:
        say_error(str(error))
        return error.exit_code
    served_by = "off"
    if request.options.text("daemon") == "auto":
        from extrecon.daemon.client import call

        try:
            return call(request)
        except DaemonError as error:
            served_by = f"in-process: {error}"
    from extrecon.call.supervisor import Supervisor

    return Supervisor(request, served_by).run()


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError(f"the working directory cannot be used: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
