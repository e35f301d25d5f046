"""A runner: the forked process that does one job, as the hook itself would."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from extrecon.call.supervisor import work
from extrecon.daemon.protocol import Channel, Message
from extrecon.options import Options

_REPORT_SECONDS = 0.1


def run(request: Message, broker: Channel) -> int:
    """Do the job and return its exit code, which the broker is told as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _become_the_caller(request)
    report = _Report(broker)
    code = work(
        Path(request["star"]),
        Options(**request["options"]),
        Path(request["working_directory"]),
        served_by=request["served_by"],
        progress=report.stage,
        aside=report.aside,
    )
    report.tell({"done": code})
    return code


def _become_the_caller(request: Message) -> None:
    """Take the place of the hook: its folder, file mode, cores and variables."""
    os.chdir(request["working_directory"])
    os.umask(request["umask"])
    with suppress(OSError):  # cores may have been taken from this session since
        os.sched_setaffinity(0, request["cores"])
    os.environ.clear()
    os.environ.update(request["environ"])
    torch: Any = sys.modules.get("torch")
    if torch:  # loaded with one thread, for the fork's sake; as many as OpenMP would choose in a new process
        told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        torch.set_num_threads(int(told) if told.isdigit() and int(told) else len(os.sched_getaffinity(0)))


class _Report:
    """Tells the broker what the job is doing."""

    def __init__(self, broker: Channel) -> None:
        self._broker = broker
        self._stage = ""
        self._told_at = 0.0

    def tell(self, message: Message) -> None:
        """Send one message; a broker that is gone takes this process with it, so its absence needs no answer."""
        with suppress(OSError):
            self._broker.send(message)

    def stage(self, name: str, fraction: float) -> None:
        """Report a stage: each new one at once, its fractions now and then."""
        now = time.monotonic()
        if name == self._stage and now - self._told_at < _REPORT_SECONDS:
            return
        self._stage, self._told_at = name, now
        self.tell({"stage": name, "fraction": fraction})

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let others use the device while this job only waits; come back when the broker says so."""
        self.tell({"aside": True})
        try:
            yield
        finally:
            self.tell({"aside": False})
            if self._broker.receive() is None:
                sys.exit(1)
