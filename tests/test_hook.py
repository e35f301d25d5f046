"""The hook as RELION runs it: a program, its exit code, and the files it leaves."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrecon.maps import read_map
from extrecon.system.files import replacing
from tests.jobs import FAILING_CALLS, JobFiles, write_job

pytestmark = pytest.mark.usefixtures("plugins")

HOOK = str(Path(sys.executable).with_name("extrecon-hook"))


def call(files: JobFiles, *options: str, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if limit_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [HOOK, "--gate-wait", "0", *options, files.star.name],
        cwd=files.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )


def outcome(files: JobFiles) -> str:
    return str(json.loads(files.record.read_text())["outcome"])


def litter(files: JobFiles) -> list[Path]:
    return list(files.folder.glob(".*"))


def test_one_line_in_the_log(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, "--regularizer", "identity")
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert ran.stdout.count("\n") == 1
    assert ran.stdout.startswith(" extrecon it005 half1 class001: regularized with identity (local search")
    assert outcome(files) == "regularized"
    assert litter(files) == []


@pytest.mark.parametrize("name", ["killed", "crashes"])
def test_a_regularizer_that_is_killed_leaves_the_plain_map(name: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, "--regularizer", name)
    assert ran.returncode == 0
    assert "WARNING: PLAIN MAP RETURNED (the regularizing process was killed by SIG" in ran.stdout
    assert np.array_equal(read_map(files.result).density, read_map(files.beside("_plain.mrc")).density)
    assert outcome(files) == "fallback"
    assert litter(files) == []


def test_or_fails_with_its_own_exit_code(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, "--regularizer", "killed", "--on-error", "fail")
    assert ran.returncode == 8
    assert "killed by SIGKILL" in ran.stderr
    assert not files.result.exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        *FAILING_CALLS,
        (["--apply", "sometimes"], 2),
        (["--no-such-option"], 2),
        (["--set", "k"], 2),
        (["--config", "absent.toml"], 2),
    ],
)
def test_exit_codes(options: list[str], code: int, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, *options)
    assert ran.returncode == code
    assert ran.stderr or "ERROR" in ran.stdout


@pytest.mark.parametrize(("ending", "code"), [("_weight.mrc", 3), (".star", 3)])
def test_missing_input_is_an_input_error(ending: str, code: int, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    files.beside(ending).unlink()
    ran = call(files)
    assert ran.returncode == code
    assert "no such file" in ran.stdout


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, "--regularizer", "identity", limit_bytes=20_000)
    assert ran.returncode == 6
    assert "File too large" in ran.stdout
    assert not files.result.exists()
    assert litter(files) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_hook_stops_its_work_and_cleans_up(number: signal.Signals, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = subprocess.Popen(
        [HOOK, "--regularizer", "sleeps", files.star.name],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(tmp_path / "asleep")
    children = _children(process.pid)
    assert len(children) == 1
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert not Path(f"/proc/{children[0]}").exists()
    assert litter(files) == []


def test_a_killed_hook_takes_its_work_along(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = subprocess.Popen([HOOK, "--regularizer", "sleeps", files.star.name], cwd=tmp_path)
    wait_for(tmp_path / "asleep")
    (child,) = _children(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_two_ranks_at_once_do_not_touch_each_others_files(tmp_path: Path) -> None:
    halves = [write_job(tmp_path, name=f"run_it005_half{half}_class001") for half in (1, 2)]
    running = [
        subprocess.Popen([HOOK, "--regularizer", "smooth", files.star.name], cwd=tmp_path, stdout=subprocess.PIPE)
        for files in halves
    ]
    for process in running:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert [outcome(files) for files in halves] == ["regularized", "regularized"]
    first, second = (read_map(files.result).density for files in halves)
    assert np.array_equal(first, second)


def test_variables_reach_the_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_job(tmp_path)
    monkeypatch.setenv("EXTRECON_APPLY", "never")
    assert "plain map (--apply never)" in call(files).stdout


def test_a_star_path_with_folders_works_from_the_project(tmp_path: Path) -> None:
    files = write_job(tmp_path / "Refine3D" / "job_001")
    files.star.write_text(files.star.read_text().replace("run_it005", "Refine3D/job_001/run_it005"))
    ran = subprocess.run(
        [HOOK, "--regularizer", "identity", str(files.star.relative_to(tmp_path))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert files.result.is_file()


def test_the_help_lists_every_option() -> None:
    from extrecon.options import OPTIONS

    told = subprocess.run(
        [HOOK, "--help"], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"}
    )
    for option in OPTIONS:
        assert f"--{option.name}" in told.stdout


def does(code: str) -> list[str]:
    return ["--regularizer", "does", "--set", f"do={code}"]


ENDINGS = {
    "exits": ("os._exit(7)", "ended itself with code 7"),
    "exits as if all were well": ("os._exit(0)", "ended itself with code 0"),
    "dies of a signal without a name": ("os.kill(os.getpid(), 40)", "was killed by signal 40"),
    "closes everything it finds, and exits": ("os.closerange(0, 99); os._exit(0)", "ended itself with code 0"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_map_means_0_however_the_work_ends(ending: str, tmp_path: Path) -> None:
    code, told = ENDINGS[ending]
    files = write_job(tmp_path)
    ran = call(files, *does(code))
    assert ran.returncode == 0
    assert f"WARNING: PLAIN MAP RETURNED (the regularizing process {told}" in ran.stdout
    assert outcome(files) == "fallback"
    assert read_map(files.result).density.any()
    assert litter(files) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_and_no_map_means_another_code(ending: str, tmp_path: Path) -> None:
    code, told = ENDINGS[ending]
    files = write_job(tmp_path)
    ran = call(files, *does(code), "--on-error", "fail")
    assert ran.returncode == 8
    assert f"no map returned: the regularizing process {told}" in ran.stderr
    assert outcome(files) == "failed"
    assert not files.result.exists()


@pytest.mark.parametrize("daemon", ["auto", "off"])
def test_the_log_is_told_even_if_a_plugin_closes_it(daemon: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, *does("os.closerange(0, 99); r = R(smooth(d))"), "--daemon", daemon)
    assert ran.returncode == 0
    assert "regularized" in ran.stdout


def test_a_map_of_an_earlier_attempt_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    call(files, "--apply", "never")
    assert files.result.exists()
    files.folder.chmod(0o500)  # nothing can be removed or written now
    try:
        ran = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", HOOK, "--gate-wait", "0", files.star.name],
            cwd=files.folder,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        files.folder.chmod(0o700)
    assert ran.returncode != 0


NEVER_RETURNS = {
    "sleeps": "import time; time.sleep(1e6)",
    "works": "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 14, 15)]\nwhile True: pass",
    "has stopped itself": "os.kill(os.getpid(), 19)",
    "sleeps behind a closed pipe": "import time; os.closerange(3, 99); time.sleep(1e6)",
}


@pytest.mark.parametrize("way", NEVER_RETURNS)
def test_a_regularizer_that_never_returns_has_its_time(way: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = call(files, *does(NEVER_RETURNS[way]), "--time-limit", "0.5")
    assert ran.returncode == 0
    assert "PLAIN MAP RETURNED (the regularizer took longer than --time-limit 0.5 s)" in ran.stdout
    assert "--time-limit" in json.loads(files.record.read_text())["reason"]


def test_a_plain_call_has_no_time_limit(tmp_path: Path) -> None:
    files = write_job(tmp_path, order=2)
    assert call(files, "--time-limit", "0.000001").returncode == 0
    assert outcome(files) == "plain"


def test_a_job_that_is_told_to_abort_is_not_held_up(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = subprocess.Popen(
        [HOOK, "--gate-wait", "0", "--regularizer", "sleeps", files.star.name],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path / "asleep")
    (tmp_path / "RELION_JOB_ABORT_NOW").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "PLAIN MAP RETURNED (RELION was told to abort the job (RELION_JOB_ABORT_NOW))" in output


def test_nor_while_it_waits_for_the_other_half(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = subprocess.Popen(
        [HOOK, "--gate-wait", "0", "--regularizer", "both", "--half-wait", "100", files.star.name],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(files.beside("_plain.mrc"))
    (tmp_path / "RELION_JOB_ABORT_NOW").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "PLAIN MAP RETURNED (RELION was told to abort the job (RELION_JOB_ABORT_NOW))" in output


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def started(files: JobFiles, *options: str, before: Any = None) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [HOOK, "--gate-wait", "0", *options, files.star.name],
        cwd=files.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=before,  # noqa: PLW1509  this program has one thread
        start_new_session=True,
    )
    wait_for(files.folder / "waiting")
    return process


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_was_ignored_before_stays_ignored(number: signal.Signals, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = started(files, "--regularizer", "waits", before=lambda: signal.signal(number, signal.SIG_IGN))
    for _ in range(3):
        process.send_signal(number)
    os.killpg(process.pid, number)  # as a closing terminal does
    (tmp_path / "go").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert outcome(files) == "regularized"


def test_blocked_signals_of_the_caller_do_not_reach_the_work(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    blocked = set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP}
    code = "import signal; r = R(smooth(d), facts={'blocked': list(signal.pthread_sigmask(signal.SIG_BLOCK, []))})"
    ran = subprocess.run(
        [HOOK, "--gate-wait", "0", *does(code), files.star.name],
        cwd=tmp_path,
        check=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, blocked),
    )
    assert ran.returncode == 0
    assert json.loads(files.record.read_text())["facts"] == {"blocked": []}


def test_children_that_are_reaped_unseen_do_not_confuse_it(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = subprocess.run(
        [HOOK, "--gate-wait", "0", *does("os._exit(7)"), files.star.name],
        cwd=tmp_path,
        check=False,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    assert ran.returncode == 0
    assert outcome(files) == "fallback"


def test_work_that_was_stopped_is_woken(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = started(files, "--regularizer", "waits")
    os.kill(int((tmp_path / "waiting").read_text()), signal.SIGSTOP)
    (tmp_path / "go").touch()
    process.communicate(timeout=40)
    assert process.returncode == 0
    assert outcome(files) == "regularized"


def test_a_stopped_hook_takes_its_map_away(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = started(files, "--regularizer", "waits")
    assert files.result.exists()
    os.kill(int((tmp_path / "waiting").read_text()), signal.SIGSTOP)  # and its work hears nothing any more
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in output
    assert not files.result.exists()
    assert outcome(files) == "failed"
    assert litter(files) == []


def test_signals_that_come_too_late_do_not_undo_what_is_done(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    program = (
        "import os, signal, sys; from extrecon import hook\n"
        "code = hook.main(sys.argv[1:])\n"
        "for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT): os.kill(os.getpid(), n)\n"
        "sys.exit(code)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "--gate-wait", "0", "--apply", "never", files.star.name],
        cwd=tmp_path,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0
    assert files.result.exists()


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    files = write_job(folder)
    for options, expected in ((["--regularizer", "smooth"], "regularized"), (does("os._exit(7)"), "fallback")):
        ran = subprocess.run(
            [HOOK, "--gate-wait", "0", *options, str(files.star)],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert outcome(files) == expected


@pytest.mark.parametrize("ending", ["_extrecon.json", ".mrc", "_plain.mrc"])
def test_a_pipe_where_a_result_belongs_is_replaced(ending: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    os.mkfifo(files.beside(ending))
    assert call(files, "--regularizer", "identity").returncode == 0
    assert outcome(files) == "regularized"
    assert files.beside(ending).is_file()


def test_a_deleted_working_directory_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    ran = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$0" x.star', HOOK],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 2
    assert "the working directory cannot be used" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_too_little_memory_to_start_is_told_at_once(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = subprocess.run(
        [HOOK, files.star.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000)),
    )
    assert ran.returncode == 1
    assert "ulimit -v) is 200 MB, and 600 MB are needed" in ran.stderr


def test_temporary_files_do_not_follow_links_that_lie_in_wait(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    target = tmp_path / "map.mrc"
    trap = tmp_path / f".map.mrc.{os.getpid()}.tmp"
    trap.symlink_to(precious)
    with replacing(target) as temporary:
        assert temporary == trap
        temporary.write_text("new")
    assert precious.read_text() == "precious"
    assert target.read_text() == "new"
    assert not target.is_symlink()
