"""A call's memory is predicted, held against what it takes, and decides who works at once, in turn, or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from extrecon.call import memory, room
from extrecon.call.limits import FIRST_STAGE, RECONSTRUCTING
from extrecon.call.pipeline import run_job
from extrecon.call.room import Room
from extrecon.call.supervisor import _Reports
from extrecon.chain import load_chain
from extrecon.options import Options, resolve
from extrecon.reconstruction import Geometry
from extrecon.reconstruction.memory import reconstruction_bytes
from extrecon.regularizer import load
from tests.daemon.conftest import finish, record, start_hook
from tests.jobs import JobFiles, blobs, write_job

GB = 10**9

MEASURED = """
import json, sys
from pathlib import Path
from extrecon.fourier.compute import cpu
from extrecon.reconstruction import reconstruct_job
from extrecon.relion.job import read_job
from extrecon.system.memory import keep_freed_memory, peak_memory_megabytes
keep_freed_memory()
told = [peak_memory_megabytes()]
for star in map(Path, sys.argv[1:]):
    reconstruct_job(read_job(star, star.parent), compute=cpu(1))
    told.append(peak_memory_megabytes())
print(json.dumps(told))
"""


def test_a_reconstruction_takes_what_is_predicted(tmp_path: Path) -> None:
    boxes = (24, 80)  # the first has everything imported
    stars = [str(write_job(tmp_path / str(box), density=blobs(box)).star) for box in boxes]
    ran = subprocess.run([sys.executable, "-c", MEASURED, *stars], capture_output=True, text=True, check=True)
    start, first, second = json.loads(ran.stdout)
    predicted = [reconstruction_bytes(Geometry(box, box, 2.0), 1) / 1e6 for box in boxes]
    assert start < memory.PROCESS_BYTES / 1e6
    assert 0.6 * predicted[1] < second - start < 1.1 * predicted[1], (start, first, second, predicted)


def test_the_prediction_grows_as_the_grid_does() -> None:
    def of(box: int, padding: float, current: int | None = None) -> int:
        return memory.plain_map_bytes(Geometry(box, current or box, padding), threads=2)

    # Twelve bytes for each point of the padded, half-complex grid of 1027³.
    assert of(512, 2.0) == pytest.approx(12 * 1027**2 * 514, rel=0.1)
    assert of(512, 2.0) / of(256, 2.0) == pytest.approx(8, rel=0.15)
    assert of(512, 1.0) < 0.25 * of(512, 2.0)
    assert of(512, 2.0, current=128) < 0.3 * of(512, 2.0)


@pytest.mark.parametrize("name", ["fdr-mask", "localdeblur", "profile", "two-half", "cnn"])
def test_a_shipped_regularizer_takes_what_it_declares(name: str, tmp_path: Path) -> None:
    box = 72
    told = ("--regularizer", name, "--threads", "1", "--amplitudes", "half-map")
    noise = np.random.default_rng(0).normal(size=(2, box, box, box))
    fsc = 1 / (1 + (np.arange(box // 2 + 1) / 20) ** 12)
    running = []
    for half in (1, 2)[: 1 + load(name).needs_both_halves]:
        density = (blobs(box) + 0.02 * noise[half - 1]).astype(np.float32)
        files = write_job(tmp_path, name=f"run_it005_half{half}_class001", density=density, padding=1, fsc=fsc)
        running.append(start_hook(files, *told))
    for process in running:
        finish(process)
    predicted = memory.regularizing_bytes(load(name), box) / 1e6
    assert record(files)["outcome"] == "regularized", record(files)["reason"]
    assert 0.5 * predicted < record(files)["peak_memory_megabytes"] < 1.2 * predicted


def options(files: JobFiles, regularizer: str, *given: str) -> Options:
    return resolve({"gate_wait": 0.0, "regularizer": regularizer}, given, {}, None, files.folder)


def test_a_regularizer_that_does_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_job(tmp_path)
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: 10**6)
    monkeypatch.setattr(memory, "resident_bytes", lambda pid: 50 * 10**6)
    said: list[str] = []
    told = run_job(files.request(options(files, "localdeblur")), said.append)
    assert told.outcome == "fallback"
    assert "localdeblur takes at box 24 about 0.1 GB, where there are 0.1 GB: it was not begun" in told.reason
    assert files.result.exists()
    assert "warning: the half-map takes about 0." in said[0]
    assert said[0].endswith("GB: if the system ends this call, RELION ends as well")
    assert "PLAIN MAP RETURNED" in said[1]
    assert "mask" not in told.seconds
    # Who does not know how much it takes is let try.
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "plugins"))
    assert run_job(files.request(options(files, "smooth")), said.append).outcome == "regularized"


def test_a_chain_takes_what_its_largest_does(plugins: Path) -> None:
    box = 100
    chain = load_chain("two-half+localdeblur")
    assert chain.memory_bytes(box) == 4 * box**3 + load("two-half").memory_bytes(box)
    assert load_chain("localdeblur+smooth").memory_bytes(box) == 0  # of which one does not say
    undeclared = memory.regularizing_bytes(load("smooth"), box)
    assert undeclared == memory.PROCESS_BYTES + (4 + memory.UNDECLARED_BYTES_PER_VOXEL) * box**3


def test_of_two_phases_and_of_unknown_regularizers_the_most_is_expected(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    most = memory.regularizing_bytes(load("cnn"), 24)
    assert memory.regularizing_bytes_of(files.star, "global=localdeblur,local=cnn") == most
    assert memory.regularizing_bytes_of(files.star, "no-such") > memory.PROCESS_BYTES
    assert memory.plain_map_bytes_of(files.star, 1) == memory.plain_map_bytes(Geometry(24, 24, 2.0), 1)
    assert memory.plain_map_bytes_of(tmp_path / "absent.star", 1) == 0


def test_two_that_fit_work_at_once_and_two_that_do_not_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "available_memory_bytes", lambda: 20 * GB)
    monkeypatch.setattr(room, "resident_bytes", lambda pid: 0)
    monkeypatch.setattr(room, "_POLL_SECONDS", 0.01)
    first, second = Room(tmp_path), Room(tmp_path)
    assert first.enter(9 * GB) == second.enter(9 * GB) == 0.0
    assert first.enter(12 * GB) < 1.0
    entered: list[float] = []
    waiting = threading.Thread(target=lambda: entered.append(second.enter(12 * GB)))
    waiting.start()
    time.sleep(0.1)
    assert entered == []
    first.leave()
    waiting.join(10)
    assert entered[0] > 0.05
    monkeypatch.setattr(room, "LONGEST_WAIT_SECONDS", 0.05)
    assert first.enter(12 * GB) < 1.0  # nobody waits for ever
    assert Room(tmp_path / "absent").enter(12 * GB) < 1.0  # what cannot be locked holds up nobody


HOLDS = """
import sys, time
from pathlib import Path
from extrecon.call import room
room.available_memory_bytes = lambda: 1
room.Room(Path(sys.argv[1])).enter(10**9)
print("holds", flush=True)
time.sleep(60)
"""


def test_who_is_killed_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holds\n"
        monkeypatch.setattr(room, "available_memory_bytes", lambda: 1)
        monkeypatch.setattr(room, "LONGEST_WAIT_SECONDS", 0.3)
        assert Room(tmp_path).enter(GB) > 0.2
        other.kill()
        other.wait()
        assert Room(tmp_path).enter(GB) < 0.2


def test_a_half_without_a_daemon_has_its_turn_only_while_it_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(Room, "enter", lambda self, needed: asked.append(needed))
    monkeypatch.setattr(Room, "leave", lambda self: asked.append("leave"))
    files = write_job(tmp_path)
    request = files.request(options(files, "localdeblur"))
    with open("/dev/null", "wb") as nothing:  # noqa: PTH123
        reports = _Reports(nothing.fileno(), request)
        for stage in ("read", RECONSTRUCTING, "write", FIRST_STAGE, "regularize with localdeblur"):
            reports.stage(stage, 0.0)
        with reports.aside():
            pass
    regularizing = memory.regularizing_bytes(load("localdeblur"), 24)
    plain = asked[1]
    assert asked == ["leave", plain, "leave", regularizing, "leave", regularizing]
    assert isinstance(plain, int)
    assert plain >= memory.plain_map_bytes(Geometry(24, 24, 2.0), 1)


def test_halves_in_turn_that_need_each_other_come_to_an_end(tmp_path: Path) -> None:
    """Each waits for the other's map, and both for the memory, of which there is never enough here."""
    short = tmp_path / "short"
    short.mkdir()
    (short / "sitecustomize.py").write_text(
        "import extrecon.call.room as room\nroom.available_memory_bytes = lambda: 1\n"
    )
    halves = [write_job(tmp_path / "job", name=f"run_it005_half{half}_class001") for half in (1, 2)]
    environ = {**os.environ, "PYTHONPATH": str(short)}
    running = [start_hook(files, "--regularizer", "two-half", env=environ) for files in halves]
    for process in running:
        finish(process)
    assert [record(files)["outcome"] for files in halves] == ["regularized"] * 2
