"""A runner: the forked process that does one job, as the hook itself would."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from extrecon.call.limits import FIRST_STAGE
from extrecon.call.request import Request
from extrecon.call.supervisor import work
from extrecon.daemon.job import LONGEST_STAGE, fraction_of
from extrecon.daemon.protocol import Channel, Message
from extrecon.errors import RegularizerError

_REPORT_SECONDS = 0.1


def run(request: Message, broker: Channel) -> int:
    """Do the job and return its exit code, which the broker is told as well."""
    report = _Report(broker)
    _become_the_caller(request)
    lacking = set(request["cores"]) - os.sched_getaffinity(0)
    if lacking:
        report.tell({"lost": f"the daemon may not use core {min(lacking)}, and the call may"})
        return 1
    code = work(
        Request.from_message(request),
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
    with suppress(OSError):  # none of them may be this session's any more
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
        self._has_turn = False

    def tell(self, message: Message) -> None:
        """Send one message; a broker that is gone takes this process with it, so its absence needs no answer."""
        with suppress(OSError):
            self._broker.send(message)

    def stage(self, name: object, fraction: object) -> None:
        """Report a stage: each new one at once, its fractions now and then.

        Plugins call this, with whatever they like; the first stage of regularizing waits for its turn.

        Raises
        ------
        RegularizerError : its turn did not come.
        """
        name, fraction = _text(name), fraction_of(fraction)
        now = time.monotonic()
        if name == self._stage and now - self._told_at < _REPORT_SECONDS:
            return
        self._stage, self._told_at = name, now
        self.tell({"stage": name, "fraction": fraction})
        if name == FIRST_STAGE and not self._has_turn:
            self._has_turn = True
            _free_device_memory()
            self.tell({"turn": "regularizer"})
            self._await_go()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let others use the device while this job only waits; come back when the broker says so."""
        self.tell({"aside": True})
        try:
            yield
        finally:
            self.tell({"aside": False})
            self._await_go()

    def _await_go(self) -> None:
        reply = self._broker.receive()
        if reply is None:
            os._exit(1)
        if not reply["go"]:
            raise RegularizerError(str(reply["reason"]))


def _text(told: object) -> str:
    try:
        return str(told)[:LONGEST_STAGE].encode(errors="replace").decode()
    except Exception:  # noqa: BLE001  a plugin's own type may raise whatever it likes
        return "unnamed"


def _free_device_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later: another job is at work there meanwhile."""
    torch: Any = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
