"""Who does what: memory that the daemon and its runners share, and the rule for whose turn it is.

Each runner writes into a place of its own what it does, and reads what the others do. A place counts only while its
process lives: however that ends, nothing has to be tidied up for the next one to have its turn. One lock, which the
kernel takes from the dead as well, is held for the moment of reading or writing.
"""

from __future__ import annotations

import fcntl
import json
import math
import mmap
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from extrecon.system.devices import queue_of, threads_of_a_call
from extrecon.system.memory import available_memory_bytes, resident_bytes
from extrecon.system.processes import start_time

PLACES = 64
_PLACE_BYTES = 8192
LONGEST_STAGE = 200
"""Characters, each of up to twelve bytes in JSON."""
PLAIN_MAP, REGULARIZER = "plain map", "regularizer"
WAITS, WORKS, ASIDE = "waits", "works", "aside"
_LOCK_SECONDS = 0.1


@dataclass
class Work:
    """What one runner does, and what it takes for it.

    Attributes
    ----------
    pid, started : process, and its start time in clock ticks: numbers of processes are used again
    label : which call, for people
    queue : its device, see `extrecon.system.devices.queue_of`
    memory_bytes : the peak of its process, as far as that is known beforehand
    kind : what it wants the device for: a plain map, or its regularizer
    state : waits for its turn, is at work, or stands aside and lets others work
    since : when it began to wait
    near_local_search : local search is near, so its regularizer's weights should be loaded
    """

    pid: int
    started: int
    label: str
    queue: str
    threads: int
    memory_bytes: int = 0
    kind: str = PLAIN_MAP
    state: str = WAITS
    since: float = field(default_factory=time.monotonic)
    stage: str = "starting"
    stage_began: float = field(default_factory=time.monotonic)
    fraction: float = 0.0
    near_local_search: bool = False

    @classmethod
    def of_this_process(cls, label: str, values: Mapping[str, Any], cores: Sequence[int]) -> Work:
        """Return the work of this process, for a call with these values of its options."""
        return cls(
            pid=os.getpid(),
            started=start_time(os.getpid()) or 0,
            label=label,
            queue=queue_of(str(values["device"])),
            threads=threads_of_a_call(int(values["threads"]), len(cores)),
        )

    @property
    def bytes_to_come(self) -> int:
        """What it will take beyond what it has already."""
        return max(0, self.memory_bytes - resident_bytes(self.pid))

    @property
    def has_begun(self) -> bool:
        """It has had its first turn."""
        return self.kind != PLAIN_MAP or self.state != WAITS

    def wait(self, kind: str) -> None:
        """Begin to wait for a turn."""
        self.kind, self.state, self.since = kind, WAITS, time.monotonic()

    def enter(self, stage: str, fraction: float) -> None:
        """Take note of how far it is."""
        if stage != self.stage:
            self.stage, self.stage_began = stage[:LONGEST_STAGE], time.monotonic()
        self.fraction = fraction

    def describe(self) -> str:
        """Return what is going on, for people."""
        done = f" {100 * self.fraction:.0f} %" if self.fraction else ""
        return f"{self.label}, stage {self.stage}{done}, {time.monotonic() - self.stage_began:.1f} s"


class Board:
    """The shared memory; make it before the first fork."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PLACES * _PLACE_BYTES)
        self._lock = os.memfd_create("extrecon-board")

    def write(self, place: int, work: Work) -> None:
        """Show what is done at a place; it may be left out when others write just now."""
        with self._locked() as held:
            if held:
                self._put(place, work)

    def clear(self, place: int) -> Work | None:
        """Forget what was done at a place, since its process is gone; return what it was."""
        last = self._at(place)
        self._put(place, None)
        return last

    def read(self) -> dict[int, Work]:
        """Return what all do whose processes live, by place."""
        with self._locked():
            return self._read()

    def take_turn(self, place: int, work: Work) -> list[Work]:
        """Let ``work`` have its device if it may; return who is in its way, nobody if it has it now."""
        with self._locked() as held:
            others = [other for where, other in self._read().items() if where != place]
            if not held:
                return others or [work]
            in_the_way = who_is_in_the_way(work, others)
            if not in_the_way:
                work.state = WORKS
            self._put(place, work)
            return in_the_way

    def _read(self) -> dict[int, Work]:
        found = {place: work for place in range(PLACES) if (work := self._at(place)) is not None}
        return {place: work for place, work in found.items() if start_time(work.pid) == work.started}

    def _at(self, place: int) -> Work | None:
        begin = place * _PLACE_BYTES
        if not self._memory[begin]:
            return None
        told = self._memory[begin : begin + _PLACE_BYTES].rstrip(b"\0")
        try:
            return Work(**json.loads(told))
        except (ValueError, TypeError, RecursionError):  # a plugin may have had a hand in it
            return None

    def _put(self, place: int, work: Work | None) -> None:
        told = b"" if work is None else json.dumps(asdict(work)).encode()
        begin = place * _PLACE_BYTES
        self._memory[begin : begin + _PLACE_BYTES] = told[:_PLACE_BYTES].ljust(_PLACE_BYTES, b"\0")

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Have the lock, or tell that it cannot be had just now: who holds it may have been stopped."""
        held, deadline = False, time.monotonic() + _LOCK_SECONDS
        while not held and time.monotonic() < deadline:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:  # a plugin has closed the file: then without
                held = True
        try:
            yield held
        finally:
            with suppress(OSError):
                fcntl.lockf(self._lock, fcntl.LOCK_UN)


def who_is_in_the_way(work: Work, others: Sequence[Work]) -> list[Work]:
    """Return whom a call has to wait for before it may use its device; nobody if it may.

    Plain maps wait for plain maps, and regularizers for regularizers: RELION's calls for plain maps go on, however
    long somebody's regularizer takes. A GPU serves one of each kind at a time, because two would fight for its
    memory. CPU jobs may overlap: while one reads or writes, the other computes; but not so many that they only get
    in each other's way. Who came first goes first. Where memory is short, everybody waits for everybody.
    """
    rivals = [other for other in others if (other.queue, other.kind) == (work.queue, work.kind)]
    at_work = [other for other in rivals if other.state == WORKS]
    first = [other for other in rivals if other.state == WAITS and other.since < work.since]
    if first or (work.queue != "cpu" and at_work):
        return at_work + first
    if at_work and work.threads + sum(other.threads for other in at_work) > 2 * (os.cpu_count() or 1):
        return at_work
    busy = [other for other in others if other.state == WORKS]
    to_come = work.bytes_to_come + sum(other.bytes_to_come for other in busy)
    return busy if to_come > available_memory_bytes() else []


def fraction_of(told: object) -> float:
    """Return what a progress report says as a fraction from 0 to 1; 0 for what is none, for it may be anything."""
    try:
        value = float(told)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  a plugin's own type may raise whatever it likes
        return 0.0
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
