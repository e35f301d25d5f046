"""`extrecon run` and `extrecon watch`, with a program in RELION's place that behaves as RELION does."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conftest import EXTRECON, Daemon, daemon, wait_for  # noqa: F401  a fixture
from tests.jobs import JobFiles, write_job
from tests.pictures.pages import Page
from tests.report_job import write_refinement

VARIABLE = "RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"

pytestmark = pytest.mark.usefixtures("plugins")

# Calls the hook as RELION does, through a shell, then does what the test wants.
RELION = """
import os, subprocess, sys, time
star = sys.argv[sys.argv.index("--star") + 1]
command = os.environ["RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"]
code = subprocess.run(f"{command} {star}", shell=True).returncode
print("RELION says hello", flush=True)
exec(os.environ.get("THEN", ""))
sys.exit(code)
"""


def relion(files: JobFiles, *more: str) -> list[str]:
    words = [sys.executable, "-c", RELION, "--o", "run", "--star", files.star.name, *more]
    return [*words, "--external_reconstruct"]


def run(files: JobFiles, *words: str, code: int = 0, **variables: str) -> str:
    ran = subprocess.run(
        [EXTRECON, "run", *words],
        cwd=files.folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_options_reach_the_hook_and_the_summary_comes_last(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    told = run(files, "--regularizer", "smooth", "--set", "sigma=1.5", "--", *relion(files))
    record = json.loads(files.record.read_text())
    assert record["regularizer"]["settings"] == {"sigma": 1.5}
    assert record["daemon"] == "off"
    assert "extrecon it005 half1 class001: regularized with smooth" in told
    assert told.index("RELION says hello") < told.index("smooth │")
    assert "it005 half1: smoothed" in " ".join(told.split())
    assert (tmp_path / "run_extrecon.png").stat().st_size > 10_000
    assert "it005 half1: smoothed" in Page(tmp_path / "run_extrecon.html").text
    assert "run_it005_half1" in (tmp_path / "extrecon_maps.cxc").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Usage"),
        (["--regularizer", "identity"], "extrecon run needs a command"),
        (["--"], "there is no command after --"),
        (
            ["--", "relion_refine", "--o", "x"],
            "the command lacks --external_reconstruct: RELION would reconstruct by",
        ),
        (
            ["--regulariser", "x", "--", "relion_refine", "--external_reconstruct"],
            "no option --regulariser. Did you mean '--regularizer'?",
        ),
        (["--apply", "x", "--", "relion_refine", "--external_reconstruct"], "'x' is not one of local-search"),
        (["--", "no-such-program", "--external_reconstruct"], "no-such-program: cannot be run"),
        (["--", "relion_refine", "--external_reconstruct", "--blush"], "--blush wins over --external_reconstruct"),
        (["--", "relion_refine", "--grad", "--external_reconstruct"], "--grad cannot go with"),
        (["--", "sh", "-c", "relion_refine --blush --external_reconstruct"], "--blush wins over"),
        (["--", "env", f"{VARIABLE}=", "relion_refine", "--external_reconstruct"], f"sets {VARIABLE} to nothing"),
        (["--", "sh", "-c", f"{VARIABLE}=' ' relion_refine --external_reconstruct"], "to nothing"),
        (["--", "apptainer", "exec", "--env", f"A=b,{VARIABLE}=", "x", "--external_reconstruct"], "to nothing"),
    ],
)
def test_what_cannot_work_is_refused(words: list[str], told: str, tmp_path: Path) -> None:
    assert told in run(write_job(tmp_path), *words, code=2)


def test_the_exit_code_passes_through(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    run(files, "--", *relion(files), code=11, THEN="sys.exit(11)")
    run(files, "--", *relion(files), code=128 + 9, THEN="os.kill(os.getpid(), 9)")
    told = run(files, "--regularizer", "raises", "--on-error", "fail", "--", *relion(files), code=1)
    assert "NO MAP" in told


def test_a_continued_run_without_an_output_name_is_told_what_relion_needs(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    words = "relion_refine --external_reconstruct --continue " + files.previous("optimiser").name
    told = " ".join(run(files, "--", "sh", "-c", f"exit 1 # {words}", code=1).split())
    assert "RELION needs --o with --continue, such as --o run_ct4." in told
    assert "needs --o" not in run(files, "--", "sh", "-c", f"exit 1 # {words} --o run_ct4", code=1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_pass_through_once(number: signal.Signals, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    then = """
import signal
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
open("ready", "w").close()
while not heard: time.sleep(0.01)
time.sleep(0.5)
sys.exit(40 + len(heard))
"""
    process = subprocess.Popen(
        [EXTRECON, "run", "--regularizer", "identity", "--", *relion(files)],
        cwd=tmp_path,
        env=os.environ | {"THEN": then},
        stdout=subprocess.PIPE,
    )
    wait_for((tmp_path / "ready").exists)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 41


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_an_inherited_ignore_stays_ignored(number: signal.Signals, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    then = f"""
import signal
assert signal.getsignal({int(number)}) == signal.SIG_IGN
open("ready", "w").close()
while not os.path.exists("go"): time.sleep(0.01)
"""
    command = [EXTRECON, "run", "--regularizer", "identity", "--"]
    process = subprocess.Popen(
        ["sh", "-c", f'trap \'\' {int(number)}; exec "$0" "$@"', *command, *relion(files)],
        cwd=tmp_path,
        env=os.environ | {"THEN": then},
        stdout=subprocess.PIPE,
    )
    wait_for(lambda: (tmp_path / "ready").exists() or process.poll() is not None)
    process.send_signal(number)
    (tmp_path / "go").touch()
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told


def test_a_container_variable_set_to_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_job(tmp_path)
    monkeypatch.setenv(VARIABLE, " ")  # which `run` mends
    assert f"{VARIABLE} was set to nothing" in run(files, "--", *relion(files))
    monkeypatch.setenv(f"APPTAINERENV_{VARIABLE}", "")  # which it cannot
    told = run(files, "--", *relion(files), code=2)
    assert f"APPTAINERENV_{VARIABLE} is set to nothing" in told


def test_folder_and_root_come_from_the_file_that_is_continued(tmp_path: Path) -> None:
    files = write_job(tmp_path / "job")
    optimiser = files.previous("optimiser")
    command = ["sh", "-c", "exit 0 # relion_refine --external_reconstruct --continue " + str(optimiser)]
    told = run(files, "--", *command)
    assert "RELION never called extrecon-hook" in " ".join(told.split())
    words = [word for word in relion(files, "--continue", optimiser.name) if word not in ("--o", "run")]
    told = run(files, "--regularizer", "identity", "--", *words)
    assert "nothing to sum up" not in told
    assert (files.folder / "run_extrecon.png").exists()


def test_a_word_that_the_shell_could_not_split_is_passed_on(tmp_path: Path) -> None:
    told = run(write_job(tmp_path), "--", "sh", "-c", "exit 9 # it's --external_reconstruct", code=9)
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("half2", "it005 half2: WARNING: reconstructed by RELION's own program"),
        ("uncalled", "it006: WARNING: RELION made no external call in it006"),
    ],
)
def test_run_warns_while_relion_still_runs(tmp_path: Path, then: str, expected: str) -> None:
    files = write_job(tmp_path)
    # What one rank without the variable leaves: a call and its result, but no record.
    scripts = {
        "half2": """
for ending in ("half2_class001_external_reconstruct.star", "half2_model.star", "half1_model.star"):
    with open(f"run_it005_{ending}", "w") as file: file.write("data_model_general\\n_rlnCurrentResolution 9\\n")
""",
        "uncalled": """
with open("run_it006_half1_model.star", "w") as file: file.write("data_model_general\\n_rlnCurrentResolution 9\\n")
""",
    }
    wait = "\nend = time.time() + 20\nwhile not os.path.exists('go') and time.time() < end: time.sleep(0.01)\n"
    process = subprocess.Popen(
        [EXTRECON, "run", "--regularizer", "identity", "--", *relion(files)],
        cwd=tmp_path,
        env=os.environ | {"THEN": scripts[then].replace("\\\\n", "\\n") + wait},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert any(expected in line for line in iter(process.stderr.readline, ""))
        assert process.poll() is None
    finally:
        (tmp_path / "go").touch()
        process.communicate(timeout=60)
    assert process.returncode == 0


def start_waiting(files: JobFiles, name: str) -> subprocess.Popen[bytes]:
    """Start a run whose RELION ends when a file of this name is there."""
    then = f"open('{name}-ready', 'w').close()\nwhile not os.path.exists('{name}'): time.sleep(0.01)"
    process = subprocess.Popen(
        [EXTRECON, "run", "--regularizer", "identity", "--", *relion(files)],
        cwd=files.folder,
        env=os.environ | {"THEN": then},
        stdout=subprocess.DEVNULL,
    )
    wait_for((files.folder / f"{name}-ready").exists)
    return process


def end(process: subprocess.Popen[bytes], files: JobFiles, name: str) -> None:
    (files.folder / name).touch()
    assert process.wait(timeout=60) == 0


def test_the_daemon_stays_until_the_last_run_ends(daemon: Daemon, tmp_path: Path) -> None:  # noqa: F811
    first_files, second_files = write_job(tmp_path / "a"), write_job(tmp_path / "b")
    first = start_waiting(first_files, "first")
    pid = daemon.pid
    second = start_waiting(second_files, "second")
    end(first, first_files, "first")
    assert daemon.status()["pid"] == pid
    end(second, second_files, "second")
    assert not daemon.processes()
    assert not daemon.folder.exists()


def test_a_killed_run_does_not_hold_the_daemon(daemon: Daemon, tmp_path: Path) -> None:  # noqa: F811
    first_files, second_files = write_job(tmp_path / "a"), write_job(tmp_path / "b")
    first = start_waiting(first_files, "first")
    second = start_waiting(second_files, "second")
    first.kill()
    first.wait()
    (first_files.folder / "first").touch()
    end(second, second_files, "second")
    assert not daemon.processes()


def test_a_daemon_that_the_user_started_is_left_alone(daemon: Daemon, tmp_path: Path) -> None:  # noqa: F811
    pid = daemon.start()
    files = write_job(tmp_path)
    end(start_waiting(files, "first"), files, "first")
    assert daemon.status()["pid"] == pid


def test_a_deleted_working_directory_is_told_in_a_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone}; rmdir {gone}; exec {EXTRECON} run -- relion_refine --o x --external_reconstruct"
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 2
    assert "the working directory is gone" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_hook_that_was_never_called_is_told_loudly(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    command = ["sh", "-c", "exit 0 # relion_refine --o run --external_reconstruct"]
    told = " ".join(run(files, "--", *command).split())
    assert "RELION never called extrecon-hook: nothing was regularized" in told
    # Records of an earlier attempt do not hide it.
    run(files, "--", *relion(files))
    assert "RELION never called" in run(files, "--", *command)


def in_a_terminal(command: list[str], folder: Path, seconds: float = 60.0) -> tuple[str, int]:
    """Return what a program shows on a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "110", "LINES": "40"}
    process = subprocess.Popen(command, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    os.close(ours)
    return shown.decode(errors="replace"), process.wait(timeout=10)


def test_on_a_terminal_the_table_lives_and_relions_output_goes_to_a_file(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    command = [EXTRECON, "run", "--regularizer", "identity", "--", *relion(files)]
    shown, code = in_a_terminal(command, tmp_path)
    assert code == 0
    assert "RELION says hello" not in shown
    assert "RELION says hello" in (tmp_path / "run_relion.log").read_text()
    assert "identity" in shown
    assert "local search: HEALPix order 4 has reached 4" in " ".join(shown.split())


def watch(folder: Path, *words: str, code: int = 0) -> str:
    ran = subprocess.run(
        [EXTRECON, "watch", *words, str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def finished(folder: Path, **outcome: Any) -> list[JobFiles]:
    halves = [write_job(folder, name=f"run_it005_half{half}_class001", order=3) for half in (1, 2)]
    for half, files in enumerate(halves, 1):
        for path in folder.glob("run_it004_*"):
            text = path.read_text().replace("_rlnHealpixOrder   3", "_rlnHealpixOrder   4")
            path.with_name(path.name.replace("it004", "it005").replace("half1", f"half{half}")).write_text(text)
        model = folder / f"run_it005_half{half}_model.star"
        model.write_text(f"\ndata_model_general\n\n_rlnCurrentResolution   {8 + half / 10:.6f}\n \n")
        record = {"outcome": "regularized", "regularizer": {"name": "identity"}, "reason": "local", "warnings": []}
        files.record.write_text(json.dumps(record | {"seconds": {"read": 0.25, "write": 1.0}} | outcome))
    (folder / "run_model.star").write_text("data_model_general\n\n_rlnCurrentResolution 8.0\n")
    return halves


def test_watch_tells_a_finished_job_in_lines(tmp_path: Path) -> None:
    finished(tmp_path)
    told = watch(tmp_path).splitlines()
    assert "it005 half1: regularized with identity (local), 1.2 s" in told
    assert "it005 half2: regularized with identity (local), 1.2 s" in told
    assert "it005: HEALPix order 4, half1 8.10 Å, half2 8.20 Å" in told


def test_watch_tells_how_the_fsc_moved(tmp_path: Path) -> None:
    write_refinement(tmp_path, maps=False)
    expected = "it011: FSC above 0.143 up to 12.34 Å, where the images used end (it010: 12.34 Å"
    assert expected in watch(tmp_path)
    shown, _ = in_a_terminal([EXTRECON, "watch", str(tmp_path)], tmp_path)
    assert "FSC it012 ████" in shown
    assert "it012: FSC above 0.143 up to 10.80 Å" in " ".join(shown.split())
    assert "it010–011 half1, half2: regularized with cnn (local search" in " ".join(shown.split())


def test_watch_shows_a_finished_job_as_a_table(tmp_path: Path) -> None:
    finished(tmp_path, outcome="fallback", reason="it failed", warnings=["look here"])
    shown, code = in_a_terminal([EXTRECON, "watch", str(tmp_path)], tmp_path)
    assert code == 0
    for expected in ("4 local", "8.10", "8.20", "PLAIN (FAILED)", "1.2 / 1.2", "look here", "(2 calls)", "0.25"):
        assert expected in shown


def test_watch_tells_where_relion_did_not_call_the_hook(tmp_path: Path) -> None:
    halves = finished(tmp_path)
    halves[1].record.unlink()
    told = watch(tmp_path)
    assert "it005 half2: WARNING: reconstructed by RELION's own program, not by extrecon-hook" in told
    assert "mpirun -x RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE" in told


def continued_without_the_flag(folder: Path) -> None:
    """Iteration 5 was extrecon's; iteration 6, continued, has RELION's files but no call."""
    finished(folder)
    for path in folder.glob("run_it005_*_model.star"):
        (folder / path.name.replace("run_it005", "run_ct5_it006")).write_text(path.read_text())


def test_watch_tells_where_relion_made_no_external_call(tmp_path: Path) -> None:
    continued_without_the_flag(tmp_path)
    assert "it006: WARNING: RELION made no external call in it006" in watch(tmp_path)
    shown, _ = in_a_terminal([EXTRECON, "watch", str(tmp_path)], tmp_path)
    assert "RELION made no external call" in shown


def test_watch_tells_the_disk_use_of_the_accumulators(tmp_path: Path) -> None:
    finished(tmp_path)
    accumulators = [p for end in ("data_real", "data_imag", "weight") for p in tmp_path.glob(f"*_{end}.mrc")]
    megabytes = sum(path.stat().st_size for path in accumulators) / 1e6
    expected = f"accumulators: {len(accumulators)} files, {megabytes:.1f} MB"
    assert expected in watch(tmp_path)
    shown, _ = in_a_terminal([EXTRECON, "watch", str(tmp_path)], tmp_path)
    assert expected in shown


@pytest.mark.parametrize(
    "record",
    [
        "[" * 100_000,
        '{"outcome": "regularized", "regularizer": "text", "seconds": [1], "warnings": 3, "reason": null}',
        '{"outcome": ["x"], "seconds": {"read": "long", "write": NaN, "x": {}}, "warnings": [{"a": 1}, "[/b]"]}',
        '{"outcome": "plain", "reason": "\\ud800 [/red] \\u0000"}',
    ],
)
def test_watch_stands_any_record(tmp_path: Path, record: str) -> None:
    files = finished(tmp_path)[0]
    files.record.write_text(record)
    assert "it005 half2: regularized with identity" in watch(tmp_path)
    shown, code = in_a_terminal([EXTRECON, "watch", str(tmp_path)], tmp_path)
    assert (code, "Traceback" in shown) == (0, False), shown


def test_watch_stands_any_folder_name(tmp_path: Path) -> None:
    folder = tmp_path / "[/red] \udcff"
    finished(folder)
    assert "it005 half2: regularized with identity" in watch(folder)
    shown, code = in_a_terminal([EXTRECON, "watch", str(folder)], tmp_path)
    assert (code, "Traceback" in shown) == (0, False), shown


def test_watch_follows_a_running_job(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = subprocess.Popen([EXTRECON, "watch", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    hook = Path(EXTRECON).with_name("extrecon-hook")
    subprocess.run([hook, "--regularizer", "identity", files.star.name], cwd=tmp_path, check=True)
    assert process.stdout.readline().startswith("it005 half1: regularized with identity")
    (tmp_path / "run_model.star").write_text("data_model_general\n\n_rlnCurrentResolution 8.0\n")
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_watch_refuses_what_is_no_refinement(tmp_path: Path) -> None:
    assert "holds no refinement" in watch(tmp_path, "--once", code=3)
    assert "no such folder" in watch(tmp_path / "absent", code=3)
