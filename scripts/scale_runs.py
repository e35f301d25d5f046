"""One call at a large box, measured: wall and processor seconds, and the memory of all its processes together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from large_accumulators import make_large_accumulators

from extrecon.daemon import connect
from extrecon.record import record_path
from extrecon.system.json_text import read_json_object

RELION, PLAIN = "RELION", "plain"
HOOK = str(Path(sys.executable).with_name("extrecon-hook"))
LOOK_SECONDS = 0.05
LEAST_PAUSE = 30.0
"""Between two looks, in units of what one takes: the kernel walks all pages of a process for it."""
_PREPARED_SECONDS = 30.0
_SMALL_BOX = 64


class Row(NamedTuple):
    """What is measured.

    Attributes
    ----------
    work : a regularizer's name, `PLAIN` for the half-map alone, or `RELION` for its own program
    start : "cold" is a process of its own, "warm" the daemon
    halves : calls started together
    """

    box: int
    padding: int
    work: str
    start: str
    halves: int

    def __str__(self) -> str:
        return f"box {self.box}, padding {self.padding}, {self.work}, {self.start}, {self.halves} at once"


@dataclass(frozen=True)
class Cost:
    """What one run of a row took.

    Attributes
    ----------
    peak_gb : largest sum over all processes, the daemon among them, of what each has of its own and its share of
        what several have (PSS)
    outcome : of the first half's record
    stages : wall seconds of the first half's, by its record
    """

    wall_seconds: float
    cpu_seconds: float
    peak_gb: float
    outcome: str
    stages: Mapping[str, float]
    warnings: Sequence[str]

    def told(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


class Memory:
    """Looks, in a thread, at the memory of processes and of all that they start."""

    def __init__(self, roots: Sequence[int]) -> None:
        self.peak_bytes = 0
        self._roots = roots
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        took = 0.0
        while not self._ended.wait(max(LOOK_SECONDS, LEAST_PAUSE * took)):
            start = time.perf_counter()
            self.peak_bytes = max(self.peak_bytes, sum(_pss(process) for process in _families(self._roots)))
            took = time.perf_counter() - start


def _families(roots: Sequence[int]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for root in roots:
        with suppress(psutil.Error):
            process = psutil.Process(root)
            found |= {process, *process.children(recursive=True)}
    return found


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it ended just now
        return 0


@contextmanager
def own_daemon() -> Iterator[None]:
    """Have a daemon of the benchmark's own while this lasts."""
    # As installed: pip compiles what it installs, and this variable would have every start compile it again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="ext-", dir="/tmp") as folder:
        os.environ["EXTRECON_RUNTIME_DIR"] = str(Path(folder) / "runtime")
        try:
            yield
        finally:
            connect.ask({"verb": "stop"}, os.environ)


def halves_in(folder: Path, box: int, padding: int) -> list[str]:
    """Return the STAR files of two halves in a folder, and make them if they are not there."""
    stars = [f"run_it005_half{half}_class001_external_reconstruct.star" for half in (1, 2)]
    folder.mkdir(parents=True, exist_ok=True)
    for half, star in enumerate(stars, 1):
        if not (folder / star).is_file():
            make_large_accumulators(folder, box, padding, half)
    return stars


def warm_up(work: str, folder: Path) -> None:
    """Have the daemon import what a row needs, and load its weights, as it does before local search begins."""
    stars = halves_in(folder / "small", _SMALL_BOX, 1)
    row = Row(_SMALL_BOX, 1, work, "warm", 2)
    _run([_command(row, star) for star in stars], folder / "small", [])
    if work == PLAIN:
        return
    deadline = time.monotonic() + _PREPARED_SECONDS
    while work not in _warm()["prepared"] and time.monotonic() < deadline:
        time.sleep(0.1)


def measure(row: Row, folder: Path) -> Cost:
    """Run a row once on the accumulators of a folder."""
    stars = halves_in(folder, row.box, row.padding)[: row.halves]
    daemon = [int(_warm()["pid"])] if row.start == "warm" else []
    cost = _run([_command(row, star) for star in stars], folder, daemon)
    told = {} if row.work == RELION else read_json_object(record_path(folder / stars[0].removesuffix(".star")))
    for path in folder.glob("*_extrecon_halves"):
        shutil.rmtree(path, ignore_errors=True)
    outcome = str(told.get("outcome", "plain"))
    if outcome == "fallback":
        outcome = f"fallback: {told['reason']}"
    return Cost(*cost, outcome, told.get("seconds", {}), told.get("warnings", []))  # type: ignore[arg-type]


def _command(row: Row, star: str) -> list[str]:
    if row.work == RELION:
        return ["relion_external_reconstruct", star]
    daemon = "auto" if row.start == "warm" else "off"
    cores = len(os.sched_getaffinity(0))
    told = ["--gate-wait", "0", "--daemon", daemon, "--threads", str(max(1, cores // row.halves))]
    if row.work == PLAIN:
        return [HOOK, "--apply", "never", *told, star]
    return [HOOK, "--regularizer", row.work, "--apply", "always", *told, star]


def _run(commands: Sequence[Sequence[str]], folder: Path, daemon: list[int]) -> tuple[float, float, float]:
    """Start commands together and return wall seconds, CPU seconds and peak memory, GB."""
    before = _seconds_of_children(daemon)
    start = time.perf_counter()
    running = [
        subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    cpu = 0.0
    with Memory([*daemon, *(process.pid for process in running)]) as memory:
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu += usage.ru_utime + usage.ru_stime
    seconds = time.perf_counter() - start
    if any(process.returncode for process in running):
        sys.exit(f"{commands} failed with {[process.returncode for process in running]}")
    _until_reaped(daemon)
    return seconds, cpu + _seconds_of_children(daemon) - before, memory.peak_bytes / 1e9


def _seconds_of_children(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(float(t.children_user + t.children_system) for t in times)


def _until_reaped(pids: Sequence[int]) -> None:
    while any(psutil.Process(pid).children() for pid in pids):
        time.sleep(0.05)


def _warm() -> dict[str, Any]:
    told = connect.ask({"verb": "status"}, os.environ)
    if told is None:
        sys.exit("the daemon has ended")
    return {"pid": told["pid"], "prepared": told["warm"]["prepared"]}
