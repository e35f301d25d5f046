"""However a regularizer ends in the daemon's hands, the hook's exit code tells whether there is a map."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from extrecon.call.limits import ABORT_FILE
from tests.daemon.conftest import Daemon, call, finish, litter, record, start_hook, wait_for
from tests.jobs import write_job

ENDINGS = {
    "os._exit(7)": "ended itself with code 7",
    "os._exit(0)": "ended itself with code 0",
    "os.kill(os.getpid(), 40)": "was killed by signal 40",
    "import time; time.sleep(1e6)": "took longer than --time-limit 1 s",
    "os.kill(os.getpid(), 19)": "took longer than --time-limit 1 s",
}


@pytest.mark.parametrize("code", ENDINGS)
def test_a_map_means_0_and_none_another_code(code: str, shared_daemon: Daemon, tmp_path: Path) -> None:
    options = ("--regularizer", "does", "--set", f"do={code}", "--time-limit", "1")
    files = write_job(tmp_path / "plain")
    told = call(files, *options)
    assert "WARNING: PLAIN MAP RETURNED" in told
    assert ENDINGS[code] in told
    assert record(files)["outcome"] == "fallback"
    assert record(files)["daemon"] in ("warm", "started")
    assert litter(files) == []
    files = write_job(tmp_path / "fail")
    told = call(files, *options, "--on-error", "fail", code=8)
    assert ENDINGS[code] in told
    assert not files.result.exists()
    assert record(files)["outcome"] == "failed"


def test_a_job_that_is_told_to_abort_is_not_held_up(shared_daemon: Daemon, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    process = start_hook(files, "--regularizer", "sleeps")
    wait_for((tmp_path / "asleep").exists)
    (tmp_path / ABORT_FILE).touch()
    begin = time.monotonic()
    assert "RELION was told to abort the job" in finish(process)
    assert time.monotonic() - begin < 8
    assert record(files)["outcome"] == "fallback"
