"""Several calls and several devices, without one here: the daemon goes by what ``--device`` names.

What a device would compute is done on the CPU meanwhile, with a warning; who waits for a turn sees none of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from extrecon.daemon import turns
from extrecon.daemon.turns import ASIDE, PLAIN_MAP, REGULARIZER, WAITS, WORKS, Board, Work, who_is_in_the_way
from extrecon.system import devices
from tests.daemon.conftest import Daemon, call, finish, record, start_hook, wait_for
from tests.jobs import write_job

GB = 10**9


def work(number: int, queue: str, **how: object) -> Work:
    mine = Work.of_this_process(f"call {number}", {"device": queue, "threads": 1}, [0])
    return replace(mine, since=float(number), **how)  # type: ignore[arg-type]  # of its attributes


def started(board: Board, calls: list[Work]) -> list[str]:
    """Have all that wait ask for their turn, and return who is at work."""
    for place, one in enumerate(calls):
        if one.state == WAITS:
            board.take_turn(place, one)
    return [one.label for one in calls if one.state == WORKS]


def test_two_halves_queue_for_one_device_and_share_two() -> None:
    halves = [work(number, "cuda:0") for number in range(2)]
    assert started(Board(), halves) == ["call 0"]
    halves = [work(number, f"cuda:{number}") for number in range(2)]
    assert started(Board(), halves) == ["call 0", "call 1"]


def test_a_device_serves_a_plain_map_beside_a_regularizer_and_no_two_of_a_kind() -> None:
    board = Board()
    kinds = [REGULARIZER, REGULARIZER, PLAIN_MAP, PLAIN_MAP]
    calls = [work(number, "cuda:0", kind=kind) for number, kind in enumerate(kinds)]
    assert started(board, calls) == ["call 0", "call 2"]
    calls[0].state = ASIDE  # it waits for the other half, which is next
    board.write(0, calls[0])
    assert started(board, calls) == ["call 1", "call 2"]


def test_a_queue_for_one_device_holds_up_no_other(shared_daemon: Daemon, tmp_path: Path) -> None:
    first = write_job(tmp_path / "first")
    running = start_hook(first, "--regularizer", "waits", "--device", "cuda:0")
    wait_for((first.folder / "waiting").exists)
    queued = write_job(tmp_path / "queued")
    waiting = start_hook(queued, "--regularizer", "waits", "--device", "cuda:0")
    wait_for(lambda: any("stage wait for the device" in told for told in shared_daemon.status()["running"]))
    other = write_job(tmp_path / "other")
    call(other, "--regularizer", "identity", "--device", "cuda:1")
    assert (record(other)["outcome"], running.poll(), waiting.poll()) == ("regularized", None, None)
    for files in (first, queued):
        (files.folder / "go").touch()
    finish(running)
    finish(waiting)


def test_where_memory_is_short_halves_work_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = 0
    monkeypatch.setattr(turns, "available_memory_bytes", lambda: 20 * GB)
    monkeypatch.setattr(turns, "resident_bytes", lambda pid: resident)
    assert started(Board(), [work(n, "cpu", memory_bytes=9 * GB) for n in range(2)]) == ["call 0", "call 1"]
    assert started(Board(), [work(n, "cpu", memory_bytes=12 * GB) for n in range(2)]) == ["call 0"]
    # One alone is never held up: nothing would come of it.
    assert started(Board(), [work(0, "cpu", memory_bytes=99 * GB)]) == ["call 0"]
    # Of another kind as well, and on another device: the host's memory is one.
    at_work = work(0, "cuda:0", memory_bytes=15 * GB, kind=REGULARIZER, state=WORKS)
    assert who_is_in_the_way(work(1, "cpu", memory_bytes=9 * GB), [at_work]) == [at_work]
    assert who_is_in_the_way(work(1, "cpu", memory_bytes=4 * GB), [at_work]) == []
    resident = 8 * GB  # what they have already is no longer among what is available
    assert who_is_in_the_way(work(1, "cpu", memory_bytes=9 * GB), [at_work]) == []


PARENT = """
import sys, torch
asked = []
for name in ("init", "_lazy_init", "is_available", "device_count", "current_device", "get_device_name"):
    setattr(torch.cuda, name, lambda *_, name=name, **__: asked.append(name) or 0)
from extrecon.daemon.loaded import Loaded
from extrecon.regularizer import available
loaded = Loaded()
loaded.warm_up()
for name in available():
    loaded.wish(name, {}, weights=True)
while loaded.has_wishes:
    loaded.grant()
print(*loaded.prepared, "|", *asked)
"""


def test_the_daemon_makes_no_context_that_a_fork_could_not_use(tmp_path: Path) -> None:
    """CUDA once asked, even only how many devices there are, works in no process that is forked afterwards."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # of the tests' plugins
    command = [sys.executable, "-c", PARENT]
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    prepared, asked = ran.stdout.split("|")
    assert {"cnn", "fdr-mask", "localdeblur", "profile", "two-half"} <= set(prepared.split())
    assert asked.split() == []


@pytest.mark.parametrize("initialized", [True, False])
def test_what_torch_keeps_of_a_device_is_given_back(initialized: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Cuda:
        @staticmethod
        def is_initialized() -> bool:
            return initialized

        @staticmethod
        def empty_cache() -> None:  # it would make a context where there is none
            asked.append("empty_cache")

    torch = type(sys)("torch")
    torch.cuda = Cuda  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    devices.free_device_memory()
    assert asked == (["empty_cache"] if initialized else [])
