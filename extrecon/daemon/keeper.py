"""The program that a client starts: the daemon, and a process that clears up after it.

Nobody else could: a daemon that is killed leaves its socket and its lock's file behind. What waits for that must be
small, so it is forked before anything is imported that it does not need itself.
"""

from __future__ import annotations

import os
import sys

from extrecon.daemon.signals import default_signals


def main() -> None:
    """Be the daemon; the descriptor given as the first argument is told when it listens, or what is wrong."""
    ready = int(sys.argv[1])
    default_signals()
    if os.fork():
        os._exit(0)
    daemon = os.fork()
    if daemon:
        os.close(ready)
        if os.WIFSIGNALED(os.waitpid(daemon, 0)[1]):
            from extrecon.daemon.place import find_place

            find_place(os.environ).clear_if_unused()
        return
    from extrecon.daemon.server import serve
    from extrecon.errors import DaemonError

    try:
        reason = serve(ready=ready, keeper=os.getppid())
    except DaemonError as error:
        sys.exit(str(error))
    if reason is not None:
        print(f"extrecon daemon: ended: {reason}", flush=True)  # noqa: T201  its log


if __name__ == "__main__":
    main()
