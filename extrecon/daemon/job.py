"""A job in the broker's hands, and when it may start."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from extrecon.daemon.protocol import Channel, Message
from extrecon.relion.names import parse_job_name
from extrecon.system.devices import queue_of, threads_of_a_call
from extrecon.system.files import remove_temporary_files

BYTES_PER_WEIGHT_BYTE = 10
"""Peak memory of a reconstruction over the size of its weight file, rounded up from what was measured."""
LONGEST_STAGE = 200
_numbers = itertools.count(1)


class QueuedJob:
    """One job: who asked, what for, who does it, and how far it is.

    Attributes
    ----------
    client : the connection to the hook
    request : what the hook asked for
    report : the connection to the runner; None while queued
    runner : process and start time; None until the warm process has told them
    forking : the warm process has been asked to fork
    asked_at : when it was
    aside : it only waits, and others may use the device
    wants_back : it has stopped waiting, and may not yet go on
    at_regularizer : its plain map is done, and it has asked for its turn to regularize
    cancelled : nobody wants its result any more
    """

    def __init__(self, client: Channel, request: Message) -> None:
        self.number = next(_numbers)
        self.client = client
        self.request = request
        self.report: Channel | None = None
        self.runner: tuple[int, int] | None = None
        self.forking = False
        self.asked_at = 0.0
        self.aside = False
        self.wants_back = False
        self.at_regularizer = False
        self.cancelled = False
        self.told_at = 0.0
        self._descriptors: list[int] = []
        self._stage = "starting"
        self._fraction = 0.0
        self._stage_began = time.monotonic()
        self._stopped_since: float | None = None
        self._waits_since = time.monotonic()
        self._regularized_seconds = 0.0
        self._regularizes_since: float | None = None
        self.star = Path(request["working_directory"], request["star"])
        name = parse_job_name(self.star)
        self.name = name
        self.label = name.label if name else self.star.stem
        values: dict[str, Any] = request["options"]["values"]
        self.values = values
        self.queue = queue_of(str(values["device"]))
        self.threads = threads_of_a_call(int(values["threads"]), len(request["cores"]))
        self.memory_bytes = BYTES_PER_WEIGHT_BYTE * _size(self.star.with_name(f"{self.star.stem}_weight.mrc"))

    @property
    def is_queued(self) -> bool:
        """Nothing has been started for it yet."""
        return not self.forking

    @property
    def occupies_device(self) -> bool:
        """It is at work on its device."""
        return self.forking and not self.aside

    @property
    def regularizing(self) -> float | None:
        """For how many seconds its regularizer has been at work, not counting waits; None before its turn to be."""
        if not self.at_regularizer:
            return None
        since = self._regularizes_since
        return self._regularized_seconds + (0.0 if since is None else time.monotonic() - since)

    @property
    def has_log(self) -> bool:
        """RELION's log has come: the job may start."""
        return bool(self._descriptors)

    def take_log(self, descriptors: list[int]) -> None:
        """Keep RELION's log, standard output and error, for the runner."""
        self._descriptors = descriptors

    def open_report(self) -> Channel:
        """Return this end of a new connection to the runner; the other end goes to it with the request and the log.

        The request goes as a file: it holds the caller's environment, which may be larger than what a socket takes
        in at once, and a warm process that does not read must not hold up the broker.

        Raises
        ------
        OSError : too many files are open.
        """
        request = os.memfd_create("extrecon-request")
        self._descriptors.insert(0, request)
        with os.fdopen(os.dup(request), "wb") as file:
            file.write(json.dumps(self.request).encode())
        ours, theirs = socket.socketpair()
        # What a plugin left running may hold the other end open: its silence must not hold up the broker.
        ours.setblocking(False)
        self.report = Channel(ours)
        self._descriptors.insert(0, theirs.detach())
        return self.report

    def hand_over(self) -> list[int]:
        """Return report, request, output and errors for the runner; the caller closes them once they are sent."""
        self.forking, self.asked_at = True, time.monotonic()
        self._enter("starting", 0.0)
        descriptors, self._descriptors = self._descriptors, []
        return descriptors

    def hear(self, message: Message) -> None:
        """Take note of what the runner tells: a plugin may have a hand in it, so nothing is taken on trust."""
        if "stage" in message:
            self._enter(str(message["stage"])[:LONGEST_STAGE], fraction_of(message.get("fraction")))
        elif message.get("turn") == "regularizer":
            self.at_regularizer = True
            self._ask_back()
            self._step_aside()
            self._enter("wait for the device", 0.0)
        elif message.get("aside") is True:
            self._step_aside()
        elif message.get("aside") is False:
            self._ask_back()

    def _ask_back(self) -> None:
        self.wants_back, self._waits_since = True, time.monotonic()

    def _step_aside(self) -> None:
        self.aside = True
        self._regularized_seconds = self.regularizing or 0.0
        self._regularizes_since = None

    def come_back(self, refused: str | None = None) -> None:
        """Let a job that stood aside go on; or tell it why it may not, and it will end without the device."""
        self.wants_back = False
        if refused is None:
            self.aside = False
            self._enter("regularize", 0.0)
            if self.at_regularizer:
                self._regularizes_since = time.monotonic()
        if self.report is not None:
            with suppress(OSError):
                self.report.send({"go": refused is None, "reason": refused})

    @property
    def seconds_waiting(self) -> float:
        """For how long it has been waiting for its turn on the device."""
        waits = self.wants_back or (self.is_queued and self.has_log)
        return time.monotonic() - self._waits_since if waits else 0.0

    def kill(self) -> None:
        """End the runner, if there is one."""
        if self.runner is not None:
            with suppress(ProcessLookupError):
                os.kill(self.runner[0], signal.SIGKILL)

    def seconds_stopped(self) -> float:
        """Return for how long its process has been seen stopped (by SIGSTOP, say) while it makes the plain map."""
        stopped = self.runner is not None and not self.at_regularizer and is_stopped(self.runner[0])
        if not stopped:
            self._stopped_since = None
            return 0.0
        if self._stopped_since is None:
            self._stopped_since = time.monotonic()
        return time.monotonic() - self._stopped_since

    def close(self) -> None:
        """Let go of the log."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    def remove_temporary_files(self) -> None:
        """Remove what a runner that was killed left unfinished."""
        if self.runner is not None:
            with suppress(OSError):
                remove_temporary_files(self.star, self.runner[0])

    def describe(self) -> str:
        """Return what is going on, for people."""
        seconds = time.monotonic() - self._stage_began
        done = f" {100 * self._fraction:.0f} %" if self._fraction else ""
        return f"{self.label}, stage {self._stage}{done}, {seconds:.1f} s"

    def _enter(self, stage: str, fraction: float) -> None:
        if stage != self._stage:
            self._stage, self._stage_began = stage, time.monotonic()
        self._fraction = fraction


def may_start(job: QueuedJob, jobs: Iterable[QueuedJob]) -> bool:
    """Tell whether a job may use its device beside what is at work there.

    Plain maps wait for plain maps, and regularizers for regularizers: RELION's calls for plain maps go on, however
    long somebody's regularizer takes. A GPU serves one of each kind at a time, because two would fight for its
    memory. CPU jobs may overlap: while one reads or writes, the other computes; but not so many that they only get
    in each other's way, or run out of memory.
    """
    others = [
        other
        for other in jobs
        if other is not job
        and other.occupies_device
        and other.queue == job.queue
        and other.at_regularizer == job.at_regularizer
    ]
    if not others:
        return True
    if job.queue != "cpu":
        return False
    threads = job.threads + sum(other.threads for other in others)
    wanted = job.memory_bytes + sum(other.memory_bytes for other in others)
    return threads <= 2 * (os.cpu_count() or 1) and wanted <= _available_memory()


def fraction_of(told: object) -> float:
    """Return what a progress report says as a fraction from 0 to 1; 0 for what is none, for it may be anything."""
    try:
        value = float(told)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  a plugin's own type may raise whatever it likes
        return 0.0
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0


def is_stopped(pid: int) -> bool:
    """Tell whether a process waits for somebody to continue it."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except (psutil.Error, OSError):  # gone, or this process may have no more files open
        return False


def _available_memory() -> int:
    try:
        return int(psutil.virtual_memory().available)
    except OSError:  # no more files may be open: wait for others to end
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
