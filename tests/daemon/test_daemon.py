"""The daemon at work: the same results as without it, in the caller's place, and never with stale code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest

from extrecon.daemon import client
from extrecon.maps import read_map
from tests.daemon.conftest import EXTRECON, Daemon, call, finish, litter, record, start_hook, wait_for
from tests.jobs import FAILING_CALLS, JobFiles, noisy_blobs, write_job, write_previous


def extrecon_daemon(*words: str, code: int = 0) -> str:
    ran = subprocess.run([EXTRECON, "daemon", *words], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("name", ["identity", "smooth", "localdeblur", "masked"])
def test_results_are_the_same_to_the_bit(name: str, shared_daemon: Daemon, tmp_path: Path) -> None:
    maps = []
    for way in ("auto", "off"):
        files = write_job(tmp_path / way, density=noisy_blobs())
        call(files, "--daemon", way, "--regularizer", name)
        maps.append(
            {p.name: read_map(p).density for p in sorted(files.folder.glob("*construct*.mrc")) if is_map(p)}
        )
        told = record(files)
        assert told["outcome"] == "regularized"
        assert told["daemon"] in (("warm", "started") if way == "auto" else ("off",))
        assert litter(files) == []
    assert maps[0].keys() == maps[1].keys()
    assert all(np.array_equal(maps[0][name], maps[1][name]) for name in maps[0])


def is_map(path: Path) -> bool:
    return not path.stem.endswith(("_data_real", "_data_imag", "_weight"))


@pytest.mark.parametrize(("options", "code"), FAILING_CALLS)
def test_exit_codes_pass_through(options: list[str], code: int, shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    assert "ERROR" in call(files, *options, code=code)
    assert record(files)["daemon"] in ("warm", "started")


def another_place() -> None:
    os.umask(0o027)
    os.sched_setaffinity(0, {0})


def test_a_job_runs_in_the_callers_place(
    shared_daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_job(tmp_path)
    monkeypatch.setenv("A_VARIABLE", "mine")
    told = call(
        files,
        *("--regularizer", "tells", "--threads", "7"),
        preexec_fn=another_place,
    )
    assert record(files)["facts"] == {
        "folder": str(tmp_path),
        "umask": 0o027,
        "compute": "cpu, 7 threads",
        "cores": [0],
        "variable": "mine",
    }
    assert files.result.stat().st_mode & 0o777 == 0o640
    assert "printed by a plugin" in told


def test_a_star_path_with_folders_works_from_the_project(shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path / "Refine3D" / "job_001")
    files.star.write_text(files.star.read_text().replace("run_it005", "Refine3D/job_001/run_it005"))
    moved = JobFiles(tmp_path, files.star.relative_to(tmp_path), files.density)
    process = subprocess.run(
        [client_hook(), "--regularizer", "identity", str(moved.star)], cwd=tmp_path, check=False
    )
    assert process.returncode == 0
    assert record(files)["daemon"] in ("warm", "started")
    assert files.result.is_file()


def client_hook() -> str:
    return str(Path(EXTRECON).with_name("extrecon-hook"))


def test_a_closed_log_is_no_reason_to_fail(shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    words = f"{client_hook()} --regularizer identity {files.star.name} >&- 2>&-"
    assert subprocess.run(["sh", "-c", words], cwd=tmp_path, check=False).returncode == 0
    assert record(files)["outcome"] == "regularized"


def test_status_says_what_is_going_on(daemon: Daemon, tmp_path: Path) -> None:
    assert extrecon_daemon("status", code=1) == "not running\n"
    assert "started: process" in extrecon_daemon("start")
    assert "already running: process" in extrecon_daemon("start")
    wait_for(lambda: daemon.status()["warm"]["ready"])
    assert extrecon_daemon("status").startswith("idle for ")
    files = write_job(tmp_path, name="run_it011_half2_class001")
    write_previous_of(files)
    process = start_hook(files, "--regularizer", "waits")
    wait_for((tmp_path / "waiting").exists)
    told = extrecon_daemon("status")
    assert told.startswith("busy with it011 half2 class001, stage regularize with waits, ")
    (tmp_path / "go").touch()
    finish(process)
    assert extrecon_daemon("stop") == "stopped\n"
    assert extrecon_daemon("stop") == "not running\n"
    assert not daemon.folder.exists()


def write_previous_of(files: JobFiles) -> None:
    write_previous(files.folder, "run")
    for path in files.folder.glob("run_it004_*"):
        path.rename(path.with_name(path.name.replace("it004", "it010")))


def test_serve_in_the_foreground_ends_with_sigterm_and_leaves_nothing(daemon: Daemon, tmp_path: Path) -> None:
    process = subprocess.Popen([EXTRECON, "daemon", "serve"], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: daemon.place.read_status().get("pid") == process.pid)
    files = write_job(tmp_path)
    waiting = start_hook(files, "--regularizer", "waits")
    wait_for((tmp_path / "waiting").exists)
    assert "a daemon is already running" in extrecon_daemon("serve", code=9)
    process.send_signal(signal.SIGTERM)
    (tmp_path / "go").touch()
    assert "in-process: the daemon was stopped by SIGTERM" in finish(waiting)
    assert process.communicate(timeout=30)[0].endswith("the daemon was stopped by SIGTERM\n")
    assert process.returncode == 0
    assert not daemon.folder.exists()
    assert not daemon.processes()


def test_an_idle_daemon_ends(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRECON_IDLE_MINUTES", "0.01")
    daemon.start()
    wait_for(lambda: not daemon.folder.exists(), 20)
    wait_for(lambda: not daemon.processes())


def test_who_only_asks_how_it_stands_keeps_no_daemon_alive(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRECON_IDLE_MINUTES", "0.05")
    daemon.start()
    seconds: list[float] = []
    while not seconds or seconds[-1] < 1.5:
        seconds.append(daemon.status()["idle_seconds"])
    assert seconds == sorted(seconds)
    wait_for(lambda: not daemon.processes())


@pytest.fixture
def own_plugins(tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Test plugins that a test may change."""
    source = Path(__file__).resolve().parents[1] / "plugins"
    copy = tmp_path / "plugins"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONPATH", str(copy))
    return copy


def test_weights_are_loaded_before_local_search_begins(daemon: Daemon, own_plugins: Path, tmp_path: Path) -> None:
    def call_at(order: int) -> JobFiles:
        files = write_job(tmp_path / "job", order=order, local_order=4)
        call(files, "--regularizer", "weighted")
        return files

    call_at(2)
    assert daemon.status()["warm"]["prepared"] == []
    call_at(3)
    wait_for(lambda: daemon.status()["warm"]["prepared"] == ["weighted"])
    files = call_at(4)
    assert record(files)["facts"] == {"weight": 0.5, "warm": True, "by": daemon.pid}


def test_nothing_is_loaded_beside_a_job_that_it_could_harm(daemon: Daemon, tmp_path: Path) -> None:
    other = write_job(tmp_path / "other")
    running = start_hook(other, "--regularizer", "waits")
    wait_for((other.folder / "waiting").exists)
    call(write_job(tmp_path / "job"), "--regularizer", "weighted")
    wait_for(lambda: len(daemon.runners()) == 1)  # its own ends a little after its client
    assert daemon.status()["warm"]["prepared"] == []
    (other.folder / "go").touch()
    finish(running)
    wait_for(lambda: daemon.status()["warm"]["prepared"] == ["waits", "weighted"])


def test_torch_works_in_a_fork_as_anywhere(shared_daemon: Daemon, tmp_path: Path) -> None:
    maps, threads = [], []
    for way in ("auto", "auto", "off"):
        files = write_job(tmp_path / way)
        call(files, "--daemon", way, "--regularizer", "torch")
        maps.append(read_map(files.result).density)
        threads.append(record(files)["facts"]["threads"])
        if way == "auto":  # the first call loads the weights itself, the second finds them
            wait_for(lambda: "torch" in shared_daemon.status()["warm"]["prepared"])
    assert all(np.array_equal(one, maps[0]) for one in maps)
    allowed = int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))
    assert set(threads) == {allowed}


def test_changed_weights_mean_a_new_daemon(daemon: Daemon, own_plugins: Path, tmp_path: Path) -> None:
    files = write_job(tmp_path / "job")
    call(files, "--regularizer", "weighted")
    wait_for(lambda: daemon.status()["warm"]["prepared"] == ["weighted"])
    (own_plugins / "weights.txt").write_text("0.75\n")
    call(files, "--regularizer", "weighted")
    assert record(files)["daemon"] == f"restarted: {own_plugins / 'weights.txt'} has changed"
    assert record(files)["facts"]["weight"] == 0.75


def test_changed_code_means_a_new_daemon(daemon: Daemon, own_plugins: Path, tmp_path: Path) -> None:
    files = write_job(tmp_path / "job")
    call(files, "--regularizer", "smooth")
    wait_for(lambda: "smooth" in daemon.status()["warm"]["prepared"])
    code = own_plugins / "extrecon_test_plugins.py"
    code.write_text(code.read_text().replace('{"told": 1}', '{"told": 2}'))
    told = call(files, "--regularizer", "smooth")
    assert f"restarted: {code} has changed" in told
    assert record(files)["facts"] == {"told": 2}


def test_a_new_plugin_means_a_new_daemon(daemon: Daemon, own_plugins: Path, tmp_path: Path) -> None:
    files = write_job(tmp_path / "job")
    call(files, "--regularizer", "identity")
    entry = next(own_plugins.glob("*.dist-info/entry_points.txt"))
    entry.write_text(entry.read_text() + "calm = extrecon_test_plugins:Smooth\n")
    call(files, "--regularizer", "calm")
    assert (
        record(files)["daemon"]
        == "restarted: installed packages have changed (extrecon_test_plugins-1.0.dist-info)"
    )
    assert record(files)["outcome"] == "regularized"


def test_a_long_temporary_folder_does_not_matter(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    files = write_job(tmp_path / "job")
    call(files, "--regularizer", "identity")
    assert record(files)["daemon"] == "started"
    assert not list(deep.iterdir())


def test_a_runtime_folder_too_long_for_a_socket_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRECON_RUNTIME_DIR", str(tmp_path / ("x" * 120)))
    files = write_job(tmp_path / "job")
    call(files, "--daemon", "auto", "--regularizer", "identity")
    assert "and 107 are possible; set EXTRECON_RUNTIME_DIR to a shorter folder" in record(files)["daemon"]


def test_the_daemon_keeps_no_memory_of_a_job_and_no_fork_of_it(shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    call(files, "--regularizer", "localdeblur")
    warm = psutil.Process(shared_daemon.pid)
    wait_for(lambda: not warm.children())
    # A fork would not have the threads that its parent started, and would wait for them.
    own = {t.id for t in warm.threads()}
    call(files, "--regularizer", "localdeblur")
    assert {t.id for t in warm.threads()} == own


@pytest.fixture(params=["half1 first", "half2 first"])
def halves(request: pytest.FixtureRequest, tmp_path: Path) -> list[JobFiles]:
    found = [write_job(tmp_path, name=f"run_it005_half{half}_class001") for half in (1, 2)]
    return found if request.param == "half1 first" else found[::-1]


def test_halves_that_need_each_other_do_not_block_the_queue(
    halves: list[JobFiles], shared_daemon: Daemon, tmp_path: Path
) -> None:
    # With so many threads the second may not start beside the first, unless the first stands aside.
    crowd = str(2 * (os.cpu_count() or 1))
    first = start_hook(halves[0], "--regularizer", "both", "--threads", crowd, "--half-wait", "60")
    wait_for(lambda: any("wait for the other half" in job for job in shared_daemon.status()["running"]))
    second = start_hook(halves[1], "--regularizer", "both", "--threads", crowd, "--half-wait", "60")
    for process in (first, second):
        finish(process)
    for files in halves:
        assert record(files)["outcome"] == "regularized"
        assert record(files)["daemon"] in ("warm", "started")
        assert record(files)["other_half"]["waited_seconds"] < 60
    assert not list(tmp_path.glob("*_extrecon_halves"))


def test_a_call_that_waits_for_its_turn_says_what_for(shared_daemon: Daemon, tmp_path: Path) -> None:
    first, second = (write_job(tmp_path / name) for name in ("first", "second"))
    crowd = str(2 * (os.cpu_count() or 1))
    running = start_hook(first, "--regularizer", "waits", "--threads", crowd)
    wait_for((first.folder / "waiting").exists)
    waiting = start_hook(second, "--regularizer", "identity", "--threads", crowd)
    wait_for(lambda: any("stage wait for the device" in job for job in shared_daemon.status()["running"]))
    assert ", stage wait for the device, " in extrecon_daemon("status")
    (first.folder / "go").touch()
    finish(running)
    finish(waiting)
    assert record(second)["outcome"] == "regularized"


def test_the_client_is_told_why_it_waits(
    shared_daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from extrecon.options import resolve

    said: list[str] = []
    monkeypatch.setattr(client, "_FIRST_WORD_SECONDS", 0.0)
    first, second = (write_job(tmp_path / name) for name in ("first", "second"))
    crowd = 2 * (os.cpu_count() or 1)
    running = start_hook(first, "--regularizer", "waits", "--threads", str(crowd))
    wait_for((first.folder / "waiting").exists)
    options = resolve({"regularizer": "identity", "threads": crowd}, [], {}, None, tmp_path)

    def hear(line: str) -> None:
        said.append(line)
        (first.folder / "go").touch()

    monkeypatch.setattr(client, "say", hear)
    assert client.call(second.request(options)) == 0
    finish(running)
    assert "busy with it005 half1 class001, stage regularize with waits" in said[0]
