"""The daemon serves only callers like itself; others get another one, or work by themselves, and are told why."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extrecon.daemon import server
from extrecon.daemon.place import find_place
from extrecon.errors import DaemonError
from extrecon.maps import read_map
from extrecon.system import limits
from tests.daemon.conftest import EXTRECON, HOOK, Daemon, call, finish, record, start_hook, wait_for
from tests.jobs import blobs, write_job


def limited(number: int, soft: int) -> Callable[[], None]:
    hard = resource.getrlimit(number)[1]
    return lambda: resource.setrlimit(number, (soft, hard))


def other_groups() -> None:
    os.setgroups([*os.getgroups(), 54321])


FILE_SIZE, MEMORY = limited(resource.RLIMIT_FSIZE, 1 << 30), limited(resource.RLIMIT_AS, 1 << 36)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (FILE_SIZE, "the limit of a file's size (ulimit -f) is 1073741824 of unlimited, and is unlimited of"),
        (MEMORY, "the limit of address space (ulimit -v) is 68719476736 of unlimited, and is unlimited of"),
        pytest.param(
            other_groups,
            "the set of groups is ",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can join groups"),
        ),
    ],
)
def test_a_caller_with_other_privileges_works_by_itself(
    change: Callable[[], None], told: str, shared_daemon: Daemon, tmp_path: Path
) -> None:
    files = write_job(tmp_path)
    call(files, "--regularizer", "identity")
    pid = shared_daemon.pid
    call(files, "--regularizer", "identity", preexec_fn=change)
    assert record(files)["outcome"] == "regularized"
    assert record(files)["daemon"].startswith(f"in-process: the daemon works for others ({told}")
    call(files, "--regularizer", "identity")
    assert record(files)["daemon"] == "warm"
    assert shared_daemon.pid == pid


def test_a_daemon_that_nobody_has_used_makes_room_for_one_with_the_callers_limits(
    daemon: Daemon, tmp_path: Path
) -> None:
    first = daemon.start()
    files = write_job(tmp_path)
    call(files, "--regularizer", "identity", preexec_fn=FILE_SIZE)
    assert record(files)["daemon"].startswith("restarted: the limit of a file's size (ulimit -f) is 1073741824")
    assert daemon.pid != first


def test_more_open_files_than_enough_make_no_difference(shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    call(files, "--regularizer", "identity")
    call(files, "--regularizer", "identity", preexec_fn=limited(resource.RLIMIT_NOFILE, limits.ENOUGH_FILES))
    assert record(files)["daemon"] == "warm"
    few = limited(resource.RLIMIT_NOFILE, limits.ENOUGH_FILES - 1)
    call(files, "--regularizer", "identity", preexec_fn=few)
    assert "(the limit of open files (ulimit -n) is 255, and is enough for the daemon)" in record(files)["daemon"]


def test_each_cluster_job_has_its_own_daemon(daemon: Daemon, tmp_path: Path) -> None:
    jobs = [write_job(tmp_path / number) for number in ("one", "two")]
    for files, number in zip(jobs, ("1", "2"), strict=True):
        call(files, "--regularizer", "identity", env=os.environ | {"SLURM_JOB_ID": number})
        assert record(files)["daemon"] == "started"
    assert len(daemon.daemons()) == 2
    call(jobs[0], "--regularizer", "identity", env=os.environ | {"SLURM_JOB_ID": "1"})
    assert record(jobs[0])["daemon"] == "warm"


def test_the_variables_of_every_batch_system_count_and_common_words_do_not() -> None:
    def name(**environ: str) -> str:
        return find_place(environ).socket.name

    for variable in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "OAR_JOB_ID", "FLUX_JOB_ID"):
        assert len({name(), name(**{variable: "7"}), name(**{variable: "8"})}) == 3
    assert name(JOB_ID="7") == name()
    assert name(SGE_ROOT="/sge", JOB_ID="7") != name(SGE_ROOT="/sge", JOB_ID="8")


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no mount namespaces may be made here")
def test_two_containers_with_one_path_for_two_projects_get_their_own_maps(daemon: Daemon, tmp_path: Path) -> None:
    project, other = tmp_path / "project", tmp_path / "other"
    files = write_job(project)
    hidden = write_job(other, density=blobs(seed=7))
    call(files, "--regularizer", "identity")
    first = daemon.pid
    before = files.result.read_bytes()
    words = f"mount --bind {other} {project} && cd {project} && exec {HOOK} --gate-wait 0 {files.star.name}"
    inside = subprocess.run(
        ["unshare", "-m", "sh", "-c", words],
        env=os.environ | {"EXTRECON_REGULARIZER": "identity"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert inside.returncode == 0, inside.stdout + inside.stderr
    assert record(hidden)["daemon"] == "started"
    assert files.result.read_bytes() == before
    assert not np.array_equal(read_map(hidden.result).density, read_map(files.result).density)
    assert first in [one.pid for one in daemon.daemons()]


@pytest.mark.skipif(not can_unshare(), reason="no mount namespaces may be made here")
def test_a_daemon_that_is_alone_in_its_container_ends(daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    program = "from extrecon.daemon import idleness, server; idleness.ALONE_SECONDS = 0.5; server.serve(5.0)"
    words = (
        f"{sys.executable} -c '{program}' & "
        f"until ls {daemon.folder}/*.json >/dev/null 2>&1; do sleep 0.02; done; "
        f"exec {HOOK} --gate-wait 0 {files.star.name}"
    )
    subprocess.run(["unshare", "-m", "sh", "-c", words], cwd=tmp_path, check=True, timeout=60)
    assert record(files)["daemon"] == "warm"
    wait_for(lambda: not daemon.processes())


def test_a_relative_runtime_folder_is_refused_at_once(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_job(tmp_path)
    monkeypatch.setenv("EXTRECON_RUNTIME_DIR", "runtime")
    sentence = "EXTRECON_RUNTIME_DIR is 'runtime', but must be an absolute path, such as /tmp/mine"
    start = time.monotonic()
    call(files, "--regularizer", "identity")
    assert time.monotonic() - start < 20
    assert record(files)["daemon"] == f"in-process: {sentence}"
    for word in ("start", "status", "stop"):
        ran = subprocess.run([EXTRECON, "daemon", word], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == DaemonError.exit_code
        assert " ".join(ran.stderr.split()).find(sentence) >= 0, ran.stderr
    assert not (tmp_path / "runtime").exists()


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "soon"])
def test_idle_minutes_that_make_no_sense_are_refused(minutes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DaemonError, match=f"EXTRECON_IDLE_MINUTES is '{minutes}', but must be a number"):
        server.idle_minutes({server.IDLE_VARIABLE: minutes})
    assert server.idle_minutes({server.IDLE_VARIABLE: ""}) == server.IDLE_MINUTES
    assert server.idle_minutes({server.IDLE_VARIABLE: "inf"}) > 1e9


def test_a_call_with_idle_minutes_that_make_no_sense_works_by_itself(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXTRECON_IDLE_MINUTES", "0")
    files = write_job(tmp_path)
    call(files, "--regularizer", "identity")
    sentence = "EXTRECON_IDLE_MINUTES is '0', but must be a number of minutes above 0"
    assert record(files)["daemon"] == f"in-process: the daemon did not start: {sentence}"
    assert not daemon.processes()


def test_the_shortest_idle_time_does_not_end_a_daemon_under_its_client(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXTRECON_IDLE_MINUTES", "1e-9")
    files = write_job(tmp_path)
    call(files, "--regularizer", "identity")
    assert record(files)["daemon"] == "started"
    wait_for(lambda: not daemon.processes())


def test_too_little_memory_for_a_daemon_is_told_at_once(daemon: Daemon) -> None:
    program = "import os; from extrecon.daemon import connect; connect.connect_or_start(os.environ)"
    change = limited(resource.RLIMIT_AS, 200_000_000)
    ran = subprocess.run(
        [sys.executable, "-c", program],
        preexec_fn=change,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    sentence = "the limit of address space (ulimit -v) is 200 MB, and 600 MB are needed; raise it, or set none"
    assert f"DaemonError: the daemon did not start: {sentence}" in ran.stderr
    wait_for(lambda: not daemon.processes())


def test_eight_calls_at_once_with_few_open_files_leave_the_daemon_alive(daemon: Daemon, tmp_path: Path) -> None:
    few = limited(resource.RLIMIT_NOFILE, 24)
    jobs = [write_job(tmp_path / str(index)) for index in range(8)]
    call(jobs[0], "--regularizer", "identity", preexec_fn=few)
    pid = daemon.pid
    started = [start_hook(files, "--regularizer", "identity", preexec_fn=few) for files in jobs]
    told = "".join([finish(process) for process in started])
    assert "Traceback" not in told, told
    assert [record(files)["outcome"] for files in jobs] == ["regularized"] * 8
    served = [record(files)["daemon"] for files in jobs]
    assert "warm" in served
    assert all(told == "warm" or "open" in told for told in served), served
    assert daemon.pid == pid
    call(jobs[0], "--regularizer", "identity", preexec_fn=few)
    assert record(jobs[0])["daemon"] == "warm"
