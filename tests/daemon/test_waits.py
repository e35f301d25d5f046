"""Every wait has an end: for a turn on the device, for processes that do not answer, for a plugin."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrecon.daemon import client, connect, runner, turns
from extrecon.daemon.protocol import Channel
from extrecon.daemon.turns import (
    LONGEST_STAGE,
    REGULARIZER,
    WAITS,
    WORKS,
    Board,
    Work,
    fraction_of,
    who_is_in_the_way,
)
from extrecon.system.processes import is_stopped, start_time
from tests.daemon.conftest import Daemon, call, finish, is_gone, record, start_hook, wait_for
from tests.daemon.test_faults import client_options
from tests.jobs import JobFiles, write_job

CROWD = str(2 * (os.cpu_count() or 1))
ONE_AT_A_TIME = [("--threads", CROWD), ("--device", "cuda:0")]


def endless(folder: Path, *options: str) -> Any:
    """Start a call whose regularizer does not return before it is told to, and wait until it is at work."""
    files = write_job(folder)
    process = start_hook(files, "--regularizer", "waits", *options)
    wait_for((folder / "waiting").exists)
    return files, process


@pytest.mark.parametrize("options", ONE_AT_A_TIME)
def test_a_regularizer_without_end_holds_up_no_plain_call(
    options: tuple[str, ...], shared_daemon: Daemon, tmp_path: Path
) -> None:
    first, running = endless(tmp_path / "first", *options)
    files = write_job(tmp_path / "plain", order=2)
    call(files, "--regularizer", "identity", *options)
    assert running.poll() is None
    assert record(files)["outcome"] == "plain"
    assert record(files)["daemon"] in ("warm", "started")
    (first.folder / "go").touch()
    finish(running)
    assert record(first)["outcome"] == "regularized"


@pytest.mark.parametrize("options", ONE_AT_A_TIME)
def test_regularizers_on_one_device_take_turns_with_their_plain_maps_done(
    options: tuple[str, ...], shared_daemon: Daemon, tmp_path: Path
) -> None:
    first, running = endless(tmp_path / "first", *options)
    second = write_job(tmp_path / "second")
    queued = start_hook(second, "--regularizer", "waits", *options)
    wait_for(lambda: any("stage wait for the device" in told for told in shared_daemon.status()["running"]))
    assert second.result.exists()
    assert record(second)["outcome"] == "unfinished"
    assert not (second.folder / "waiting").exists()
    for files in (first, second):
        (files.folder / "go").touch()
    finish(running)
    finish(queued)
    assert [record(files)["outcome"] for files in (first, second)] == ["regularized"] * 2


def test_the_client_is_told_when_the_regularizer_works_and_when_it_waits(
    shared_daemon: Daemon, tmp_path: Path
) -> None:
    first, running = endless(tmp_path / "first", "--device", "cuda:0")
    channel = handed_over(write_job(tmp_path / "second"), "identity", device="cuda:0")
    told: list[dict[str, Any]] = []
    while not told or "verdict" not in told[-1]:
        told.append(channel.receive() or {"verdict": "none"})
        if "waits_for" in told[-1]:
            (first.folder / "go").touch()
    channel.close()
    finish(running)
    assert list(told[0]) == ["started"]
    waits = next(index for index, message in enumerate(told) if "waits_for" in message)
    assert {"regularizing": False} in told[:waits]
    assert told[waits]["waits_for"].startswith("busy with it005 half1 class001, stage regularize with ")
    assert {"regularizing": True} in told[waits:]
    assert told[-1] == {"verdict": "done", "code": 0}


def handed_over(files: JobFiles, regularizer: str, **values: Any) -> Channel:
    """Hand a job over as the hook does, and return the connection on which the answers come."""
    options = client_options(files)
    options = type(options)({**options.values, **values, "regularizer": regularizer})
    channel, _ = connect.connect_or_start(os.environ)
    channel.socket.settimeout(30)
    channel.send(client._Call(files.request(options))._message("warm"))
    assert channel.receive() == {"accepted": True}
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123
        channel.send({"verb": "log"}, [nothing.fileno(), nothing.fileno()])
    return channel


def work_of(number: int, **how: Any) -> Work:
    """Return the work of one of several runners, which all have this process's number."""
    mine = Work.of_this_process(f"call {number}", {"device": "cpu", "threads": 1}, [0])
    return replace(mine, since=float(number), **how)


def test_waits_do_not_count_as_work_of_the_regularizer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watch = client._Stopwatch()
    assert watch.seconds is None
    watch.turn(on=False)
    now += 50
    assert watch.seconds == 0.0
    watch.turn(on=True)
    now += 3
    assert watch.seconds == 3.0
    watch.turn(on=False)
    now += 50
    assert watch.seconds == 3.0
    watch.turn(on=True)
    now += 4
    assert watch.seconds == 7.0


@pytest.mark.parametrize(
    ("told", "fraction"),
    [(None, 0.0), (float("nan"), 0.0), ("x", 0.0), (np.float32(0.5), 0.5), (7, 1.0), ([], 0.0), (10**400, 0.0)],
)
def test_progress_may_be_anything(told: object, fraction: float) -> None:
    assert fraction_of(told) == fraction
    board, work = Board(), work_of(1)
    for stage in (["x" * 9999], "\U0010ffff" * 9999, "\udc80"):
        work.enter(runner._text(stage), fraction_of(told))
        board.write(0, work)
        (shown,) = board.read().values()
        assert shown == work
        assert len(shown.stage) <= LONGEST_STAGE


def test_what_is_no_work_on_the_board_counts_for_nothing() -> None:
    board = Board()
    for odd in (b"{", b"[1]", b'{"pid": 1}', b"\xff" * 9000):
        board._memory[: len(odd[:8192])] = odd[:8192]
        assert board.read() == {}
        assert board.take_turn(1, work_of(1)) == []
        assert board.clear(0) is None
        board.clear(1)


def test_the_dead_are_in_nobodys_way_even_before_they_are_missed() -> None:
    board = Board()
    with subprocess.Popen(["sleep", "60"]) as process:
        other = work_of(0, queue="cuda:0", pid=process.pid, started=start_time(process.pid), state=WORKS)
        board.write(0, other)
        mine = work_of(1, queue="cuda:0")
        assert board.take_turn(1, mine) == [other]
        assert mine.state == WAITS
        process.kill()
        wait_for(lambda: is_gone(process.pid))  # and nobody has asked for its exit code yet
        assert board.take_turn(1, mine) == []
        assert mine.state == WORKS


def test_who_holds_the_lock_and_was_stopped_ends_no_wait_of_others() -> None:
    board = Board()
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(board._lock, fcntl.LOCK_EX)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    try:
        wait_for(lambda: is_stopped(pid))
        assert board.take_turn(1, work_of(1)) != []
        assert board.read() == {}
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: is_gone(pid))
        assert board.take_turn(1, work_of(1)) == []
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_large_environments_of_calls_at_once_do_not_get_mixed_up(daemon: Daemon, tmp_path: Path) -> None:
    first = daemon.start()
    jobs = [write_job(tmp_path / str(index)) for index in range(4)]
    processes = []
    for index, files in enumerate(jobs):
        environ = os.environ | {f"BASH_FUNC_{n}": "x" * 100_000 for n in range(10)} | {"A_VARIABLE": str(index)}
        processes.append(start_hook(files, "--regularizer", "tells", env=environ))
    told = [finish(process) for process in processes]
    assert all("printed by a plugin" in text for text in told)
    assert [record(files)["facts"]["variable"] for files in jobs] == ["0", "1", "2", "3"]
    assert [record(files)["daemon"] for files in jobs] == ["warm"] * 4
    assert daemon.pid == first


@contextmanager
def serving(daemon: Daemon, changes: str) -> Iterator[None]:
    """Have a daemon with other constants."""
    program = f"from extrecon.daemon import runner, server; {changes}; server.serve(1.0)"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        wait_for(daemon.place.status.exists)
        yield
        process.terminate()


def impatient_hook(files: JobFiles, *options: str) -> subprocess.Popen[str]:
    """Start a hook that looks often, and soon has had enough."""
    program = (
        "import sys; from extrecon import hook; from extrecon.daemon import client;"
        "client.LOOK_SECONDS, client._LOOKS_STOPPED, client.ANSWER_SECONDS = 0.1, 1, 1.0; sys.exit(hook.main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *options, files.star.name],
        cwd=files.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_stopped_process_that_makes_a_plain_map_is_woken(shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    files.previous("sampling").rename(tmp_path / "away")
    # The wait for the sampling file comes before anything is written.
    process = impatient_hook(files, "--regularizer", "identity", "--gate-wait", "60")
    (runner,) = wait_for(shared_daemon.runners)
    runner.suspend()
    (tmp_path / "away").rename(tmp_path / "run_it004_sampling.star")
    finish(process)
    assert record(files)["daemon"] in ("warm", "started")
    assert record(files)["outcome"] == "regularized"


def test_a_regularizer_that_was_stopped_is_woken(shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    code = "os.kill(os.getpid(), 19)\nr = R(d)"
    finish(impatient_hook(files, "--regularizer", "does", "--set", f"do={code}", "--time-limit", "20"))
    assert record(files)["outcome"] == "regularized"
    assert record(files)["daemon"] in ("warm", "started")


@pytest.mark.parametrize("said", [[], [{"accepted": True}]])
def test_a_daemon_that_falls_silent_is_given_up(said: list[dict[str, Any]], daemon: Daemon, tmp_path: Path) -> None:
    daemon.place.prepare()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(daemon.place.socket))
        listener.listen()
        files = write_job(tmp_path)
        process = impatient_hook(files, "--regularizer", "identity", "--gate-wait", "0")
        channel = Channel(listener.accept()[0])
        for message in said:
            channel.send(message)
        process.wait(timeout=60)
        channel.close()  # RELION's log may have come to it
        finish(process)
    assert record(files)["daemon"] == "in-process: the daemon did not answer for 1 s"
    assert record(files)["outcome"] == "regularized"


def test_a_second_call_on_one_connection_is_sent_away(shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    channel = handed_over(files, "waits")
    (runner,) = wait_for(shared_daemon.runners)
    channel.send(client._Call(files.request(client_options(files)))._message("warm"))
    answers = iter(channel.receive, None)
    assert "is at work on this connection's call" in str(next(told for told in answers if "verdict" in told))
    wait_for(lambda: is_gone(runner.pid))
    channel.close()


def test_more_calls_than_the_daemon_has_places_for_are_sent_away(daemon: Daemon, tmp_path: Path) -> None:
    with serving(daemon, "from extrecon.daemon import dispatcher; dispatcher.PLACES = 1"):
        first, running = endless(tmp_path / "first")
        second = write_job(tmp_path / "second")
        call(second, "--regularizer", "identity")
        assert record(second)["daemon"] == "in-process: the daemon has no place for a further call"
        (first.folder / "go").touch()
        finish(running)
        assert record(first)["daemon"] == "warm"


def block_child_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def test_signals_that_the_first_caller_blocked_are_not_blocked_in_the_daemon(
    daemon: Daemon, tmp_path: Path
) -> None:
    files = write_job(tmp_path)
    call(files, "--regularizer", "identity", preexec_fn=block_child_signals)
    assert "killed by SIGKILL" in call(files, "--regularizer", "killed")
    assert record(files)["daemon"] == "warm"
    assert record(files)["outcome"] == "fallback"
    pid = daemon.pid
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: is_gone(pid))


def test_whatever_a_plugin_reports_as_progress_harms_nobody(shared_daemon: Daemon, tmp_path: Path) -> None:
    bystander, running = endless(tmp_path / "bystander")
    files = write_job(tmp_path / "job")
    call(files, "--regularizer", "odd-progress")
    assert record(files)["outcome"] == "regularized", record(files)["reason"]
    (bystander.folder / "go").touch()
    finish(running)
    for one in (files, bystander):
        assert record(one)["daemon"] in ("warm", "started")


def test_eight_classes_at_once_wait_for_one_another_and_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    board, jobs = Board(), [work_of(number, threads=4, memory_bytes=10) for number in range(8)]
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    available = 25
    monkeypatch.setattr(turns, "available_memory_bytes", lambda: available)
    monkeypatch.setattr(turns, "resident_bytes", lambda pid: 0)

    def started() -> int:
        for place, job in enumerate(jobs):
            if job.state == WAITS:
                board.take_turn(place, job)
        return sum(job.state == WORKS for job in jobs)

    assert started() == 2  # a third would not fit into the memory
    available = 1000
    assert started() == 4  # a fifth would be more than two threads a core
    jobs[0].wait(REGULARIZER)
    assert board.take_turn(0, jobs[0]) == []  # regularizers do not wait for plain maps,
    assert started() == 5  # nor plain maps for regularizers
    for place, job in enumerate(jobs):
        job.queue = "cuda:0"
        board.write(place, job)
    jobs[1].wait(REGULARIZER)
    assert board.take_turn(1, jobs[1]) == [jobs[0]]


def test_who_came_first_goes_first() -> None:
    large, small = work_of(1, threads=10**6), work_of(2, threads=1)
    at_work = work_of(0, threads=1, state=WORKS)
    assert who_is_in_the_way(small, [at_work]) == []
    assert who_is_in_the_way(small, [at_work, large]) == [at_work, large]
    assert who_is_in_the_way(large, [at_work, small]) == [at_work]
    assert who_is_in_the_way(large, [small]) == []


def test_a_call_with_cores_that_the_daemon_may_not_use_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_job(tmp_path)
    request = client._Call(files.request(client_options(files)))._message("warm")
    ours, theirs = (Channel(end) for end in socket.socketpair())
    monkeypatch.setattr(runner, "_become_the_caller", lambda _request: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert runner.run(request | {"cores": [0, 5]}, theirs, Board(), 0) == 1
    sentence = "the daemon may not use core 5, and the call may"
    assert ours.receive() == {"verdict": "lost", "reason": sentence}
    assert not files.result.exists()
    ours.close()
    theirs.close()


def test_a_turn_that_does_not_come_is_not_waited_for_without_end(daemon: Daemon, tmp_path: Path) -> None:
    with serving(daemon, "runner.TURN_SECONDS = 2.0"):
        first, running = endless(tmp_path / "first", "--device", "cuda:0")
        second = write_job(tmp_path / "second")
        told = call(second, "--regularizer", "identity", "--device", "cuda:0")
        sentence = "there was no turn on the device for 2 s: busy with it005 half1 class001, stage regularize with"
        assert sentence in told
        assert record(second)["outcome"] == "fallback"
        assert record(second)["daemon"] == "warm"
        (first.folder / "go").touch()
        finish(running)
        assert record(first)["outcome"] == "regularized"
