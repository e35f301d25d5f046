"""A runner: the forked process that does one job, as the hook itself would, and tells the hook's client of it."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from extrecon.call.limits import FIRST_STAGE
from extrecon.call.request import Request
from extrecon.call.supervisor import work
from extrecon.daemon.protocol import Channel, Message
from extrecon.daemon.turns import ASIDE, LONGEST_STAGE, PLAIN_MAP, REGULARIZER, Board, Work, fraction_of
from extrecon.errors import RegularizerError
from extrecon.record import record_path
from extrecon.relion.names import parse_job_name
from extrecon.system.devices import free_device_memory
from extrecon.system.json_text import read_json_object

TURN_SECONDS = 1800.0
"""Nobody waits longer for the device: plain maps are made without the daemon then, and regularizing is given up."""
ORDERS_AHEAD = 1
_REPORT_SECONDS = 0.1
_SHORTEST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.005, 0.2
_TELL_SECONDS = 2.0


def run(request: Message, client: Channel, board: Board, place: int) -> int:
    """Do the job and return its exit code, which the client is told as well."""
    _become_the_caller(request)
    lacking = set(request["cores"]) - os.sched_getaffinity(0)
    if lacking:
        return _refuse(client, f"the daemon may not use core {min(lacking)}, and the call may")
    report = Report(request, client, board, place)
    try:
        report.take_turn(PLAIN_MAP)
    except RegularizerError as error:
        return _refuse(client, str(error))
    code = work(
        Request.from_message(request),
        served_by=request["served_by"],
        progress=report.stage,
        aside=report.aside,
    )
    report.conclude(code)
    return code


def _refuse(client: Channel, reason: str) -> int:
    _tell(client, {"verdict": "lost", "reason": reason})
    return 1


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


class Report:
    """Tells client, daemon and other runners what the job is doing, and has it wait for its turn.

    Parameters
    ----------
    request : what the client asked for
    client : the connection to it
    board : where the others look
    place : this runner's own on the board
    """

    def __init__(self, request: Message, client: Channel, board: Board, place: int) -> None:
        self._client = client
        self._board = board
        self._place = place
        self._values: dict[str, Any] = request["options"]["values"]
        self._star = Path(request["working_directory"], request["star"])
        self._work = Work.of_this_process(label_of(self._star), self._values, request["cores"])
        self._work.memory_bytes = self._bytes_of(PLAIN_MAP)
        self._told_at = 0.0

    def stage(self, name: object, fraction: object) -> None:
        """Report a stage: each new one at once, its fractions now and then.

        Plugins call this, with whatever they like; the first stage of regularizing waits for its turn.

        Raises
        ------
        RegularizerError : its turn did not come.
        """
        name, fraction = _text(name), fraction_of(fraction)
        now = time.monotonic()
        if name == self._work.stage and now - self._told_at < _REPORT_SECONDS:
            return
        self._told_at = now
        self._enter(name, fraction)
        if name == FIRST_STAGE and self._work.kind == PLAIN_MAP:
            free_device_memory()
            _tell(self._client, {"regularizing": False})
            self._work.memory_bytes = self._bytes_of(REGULARIZER)
            self._enter("wait for the device", 0.0)
            self.take_turn(REGULARIZER)
            _tell(self._client, {"regularizing": True})
            self._enter("regularize", 0.0)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let others use the device while this job only waits; come back when it is its turn again."""
        _tell(self._client, {"regularizing": False})
        self._work.state = ASIDE
        self._board.write(self._place, self._work)
        try:
            yield
        finally:
            self.take_turn(REGULARIZER)
            _tell(self._client, {"regularizing": True})

    def take_turn(self, kind: str) -> None:
        """Return once the device may be used; tell the client meanwhile what it waits for.

        Raises
        ------
        RegularizerError : it has been too long.
        """
        self._work.wait(kind)
        told_at = -math.inf
        while others := self._board.take_turn(self._place, self._work):
            now = time.monotonic()
            waited = now - self._work.since
            busy = f"busy with {'; '.join(other.describe() for other in others)}"
            if waited > TURN_SECONDS:
                raise RegularizerError(f"there was no turn on the device for {TURN_SECONDS:.0f} s: {busy}")
            if now - told_at > _TELL_SECONDS:
                told_at = now
                _tell(self._client, {"waits_for": busy})
            time.sleep(min(_SHORTEST_POLL_SECONDS + waited / 20, _LONGEST_POLL_SECONDS))

    def conclude(self, code: int) -> None:
        """Say the last words: to the daemon whether weights are needed soon, and the exit code to the client."""
        self._work.near_local_search = self._is_near_local_search()
        self._board.write(self._place, self._work)
        _tell(self._client, {"verdict": "done", "code": code})

    def _enter(self, stage: str, fraction: float) -> None:
        self._work.enter(stage, fraction)
        self._board.write(self._place, self._work)

    def _bytes_of(self, kind: str) -> int:
        """Return the peak of this process's memory until the plain map is made, or while it is regularized."""
        from extrecon.call.memory import plain_map_bytes_of, regularizing_bytes_of

        if kind == PLAIN_MAP:
            return plain_map_bytes_of(self._star, self._work.threads)
        return regularizing_bytes_of(self._star, str(self._values["regularizer"]))

    def _is_near_local_search(self) -> bool:
        """Tell whether the next iterations may be local: the order is at most one below."""
        if self._values["apply"] == "always":
            return True
        told = read_json_object(record_path(self._star.with_suffix("")))
        order, local_order = told.get("healpix_order"), told.get("local_healpix_order")
        if not isinstance(order, int) or not isinstance(local_order, int):
            return False
        return order + ORDERS_AHEAD >= local_order


def label_of(star: Path) -> str:
    """Return a call's short name for people."""
    name = parse_job_name(star)
    return name.label if name else star.stem


def _tell(client: Channel, message: Message) -> None:
    with suppress(OSError):  # the daemon notices that a client is gone
        client.send(message)


def _text(told: object) -> str:
    try:
        return str(told)[:LONGEST_STAGE].encode(errors="replace").decode()
    except Exception:  # noqa: BLE001  a plugin's own type may raise whatever it likes
        return "unnamed"
