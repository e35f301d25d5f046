"""Every wait has an end: for a turn on the device, for processes that do not answer, for a plugin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrecon.daemon import client, runner
from extrecon.daemon import job as job_module
from extrecon.daemon.job import LONGEST_STAGE, QueuedJob, may_start
from extrecon.daemon.protocol import Channel
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


def test_a_beat_says_for_how_long_the_regularizer_has_been_at_work(shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    channel = handed_over(files, "waits")
    beats: list[dict[str, Any]] = []
    while not beats or beats[-1]["regularizing"] is None:
        message = channel.receive() or {"verdict": "none"}
        assert "verdict" not in message, message
        if "beat" in message:
            beats.append(message)
    assert beats[0]["regularizing"] is None
    assert 0 < beats[-1]["regularizing"] < 30
    (tmp_path / "go").touch()
    while "verdict" not in message:
        message = channel.receive() or {"verdict": "none"}
    assert message == {"verdict": "done", "code": 0}
    channel.close()


def handed_over(files: JobFiles, regularizer: str) -> Channel:
    """Hand a job over as the hook does, and return the connection on which the answers come."""
    options = client_options(files)
    options = type(options)({**options.values, "regularizer": regularizer})
    channel, _ = client.connect_or_start(os.environ)
    channel.socket.settimeout(30)
    channel.send(client._Call(files.request(options))._message("warm"))
    assert channel.receive() == {"accepted": True}
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123
        channel.send({"verb": "log"}, [nothing.fileno(), nothing.fileno()])
    return channel


def queued_job(tmp_path: Path) -> QueuedJob:
    files = write_job(tmp_path)
    request = client._Call(files.request(client_options(files)))._message("warm")
    return QueuedJob(None, request)  # type: ignore[arg-type]


def test_waits_do_not_count_as_work_of_the_regularizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    job = queued_job(tmp_path)
    job.forking = True
    job.hear({"stage": "reconstruct", "fraction": 0.0})
    assert job.regularizing is None
    job.hear({"turn": "regularizer"})
    assert not job.occupies_device
    now += 50
    assert job.regularizing == 0.0
    job.come_back()
    now += 3
    assert job.regularizing == 3.0
    job.hear({"aside": True})
    now += 50
    job.hear({"aside": False})
    now += 50
    assert job.regularizing == 3.0
    job.come_back()
    now += 4
    assert job.regularizing == 7.0


@pytest.mark.parametrize(
    ("told", "fraction"),
    [(None, 0.0), (float("nan"), 0.0), ("x", 0.0), (np.float32(0.5), 0.5), (7, 1.0), ([], 0.0), (10**400, 0.0)],
)
def test_progress_may_be_anything(told: object, fraction: float, tmp_path: Path) -> None:
    job = queued_job(tmp_path)
    job.hear({"stage": ["x" * 9999], "fraction": told})
    assert job._fraction == fraction
    assert len(job._stage) == LONGEST_STAGE


def idle(daemon: Daemon) -> tuple[int, int]:
    """Wait until the daemon has loaded what it will ever load; return its broker and its warm process."""
    wait_for(lambda: (warm := daemon.status()["warm"])["ready"] and warm["prepared"] == ["identity"])
    return daemon.pid, daemon.warm_pid()


def test_large_environments_of_calls_at_once_do_not_get_mixed_up(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(write_job(tmp_path / "first"), "--regularizer", "identity")
    broker, warm = idle(daemon)
    os.kill(warm, signal.SIGSTOP)  # so that all are there before the first is read
    jobs = [write_job(tmp_path / str(index)) for index in range(4)]
    processes = []
    for index, files in enumerate(jobs):
        environ = os.environ | {f"BASH_FUNC_{n}": "x" * 100_000 for n in range(10)} | {"A_VARIABLE": str(index)}
        processes.append(start_hook(files, "--regularizer", "tells", env=environ))
    wait_for(lambda: len(daemon.status()["running"]) == 4)
    os.kill(warm, signal.SIGCONT)
    told = [finish(process) for process in processes]
    assert all("printed by a plugin" in text for text in told)
    assert [record(files)["facts"]["variable"] for files in jobs] == ["0", "1", "2", "3"]
    assert [record(files)["daemon"] for files in jobs] == ["warm"] * 4
    assert (daemon.pid, daemon.warm_pid()) == (broker, warm)


@contextmanager
def serving(daemon: Daemon, changes: str) -> Iterator[None]:
    """Have a daemon with other constants."""
    program = f"from extrecon.daemon import broker, server; {changes}; broker.BEAT_SECONDS = 0.2; server.serve(1.0)"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        wait_for(daemon.place.status.exists)
        yield
        process.terminate()


def test_a_warm_process_that_is_stopped_is_given_up(daemon: Daemon, tmp_path: Path) -> None:
    with serving(daemon, "broker.FORK_SECONDS = 1.0"):
        call_with_a_stopped_warm_process(daemon, tmp_path)


def call_with_a_stopped_warm_process(daemon: Daemon, tmp_path: Path) -> None:
    call(write_job(tmp_path / "first"), "--regularizer", "identity")
    broker, warm = idle(daemon)
    os.kill(warm, signal.SIGSTOP)
    files = write_job(tmp_path / "second")
    start = time.monotonic()
    call(files, "--regularizer", "identity")
    assert record(files)["daemon"] == "in-process: the daemon's warm process did not fork for 1 s"
    assert record(files)["outcome"] == "regularized"
    assert time.monotonic() - start < 20
    call(files, "--regularizer", "identity")
    assert record(files)["daemon"] == "warm"
    assert daemon.pid == broker
    assert daemon.warm_pid() != warm


def test_a_stopped_process_that_makes_a_plain_map_is_given_up(daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    files.previous("sampling").rename(tmp_path / "away")
    with serving(daemon, "broker.STOPPED_SECONDS = 0.5"):
        # The wait for the sampling file comes before anything is written.
        process = start_hook(files, "--regularizer", "identity", "--gate-wait", "60")
        (runner,) = wait_for(daemon.runners)
        runner.suspend()
        wait_for(lambda: is_gone(runner.pid))
        (tmp_path / "away").rename(tmp_path / "run_it004_sampling.star")
        finish(process)
    assert record(files)["daemon"] == "in-process: the daemon's process was killed by SIGKILL"
    assert record(files)["outcome"] == "regularized"


def test_a_regularizer_that_was_stopped_is_woken(daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    code = "os.kill(os.getpid(), 19)\nr = R(d)"
    with serving(daemon, "pass"):
        call(files, "--regularizer", "does", "--set", f"do={code}", "--time-limit", "20")
    assert record(files)["outcome"] == "regularized"
    assert record(files)["daemon"] == "warm"


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
    broker = daemon.pid
    os.kill(broker, signal.SIGTERM)
    wait_for(lambda: is_gone(broker))


def test_whatever_a_plugin_reports_as_progress_harms_nobody(shared_daemon: Daemon, tmp_path: Path) -> None:
    bystander, running = endless(tmp_path / "bystander")
    files = write_job(tmp_path / "job")
    call(files, "--regularizer", "odd-progress")
    assert record(files)["outcome"] == "regularized", record(files)["reason"]
    (bystander.folder / "go").touch()
    finish(running)
    for one in (files, bystander):
        assert record(one)["daemon"] in ("warm", "started")


def test_eight_classes_at_once_wait_for_one_another_and_for_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [queued_job(tmp_path / str(index)) for index in range(8)]
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for job in jobs:
        job.threads, job.memory_bytes = 4, 10
    available = 25
    monkeypatch.setattr(job_module, "_available_memory", lambda: available)

    def started() -> int:
        for job in jobs:
            if not job.forking and may_start(job, jobs):
                job.forking = True
        return sum(job.forking for job in jobs)

    assert started() == 2  # a third would not fit into the memory
    available = 1000
    assert started() == 4  # a fifth would be more than two threads a core
    jobs[0].hear({"turn": "regularizer"})
    assert may_start(jobs[0], jobs)  # regularizers do not wait for plain maps,
    jobs[0].come_back()
    assert started() == 5  # nor plain maps for regularizers
    for job in jobs:
        job.queue = "cuda:0"
    jobs[1].hear({"turn": "regularizer"})
    assert not may_start(jobs[1], jobs)


def test_a_call_with_cores_that_the_daemon_may_not_use_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_job(tmp_path)
    request = client._Call(files.request(client_options(files)))._message("warm")
    ours, theirs = (Channel(end) for end in socket.socketpair())
    monkeypatch.setattr(runner, "_become_the_caller", lambda _request: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert runner.run(request | {"cores": [0, 5]}, theirs) == 1
    assert ours.receive() == {"lost": "the daemon may not use core 5, and the call may"}
    assert not files.result.exists()
    ours.close()
    theirs.close()


def test_a_turn_that_does_not_come_is_not_waited_for_without_end(daemon: Daemon, tmp_path: Path) -> None:
    with serving(daemon, "broker.TURN_SECONDS = 2.0"):
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
