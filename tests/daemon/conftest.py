"""A daemon of the test's own, in a short folder of its own, and everything that can be done to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from extrecon.daemon import connect
from extrecon.daemon.place import Place, find_place
from extrecon.daemon.server import PROCESS_NAME
from tests.jobs import JobFiles

HOOK = str(Path(sys.executable).with_name("extrecon-hook"))
EXTRECON = str(Path(sys.executable).with_name("extrecon"))
PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Daemon:
    """The daemon of one test, which need not run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def place(self) -> Place:
        return find_place(os.environ)

    @property
    def pid(self) -> int:
        pid = self.place.read_status().get("pid")
        assert isinstance(pid, int)
        return pid

    def status(self) -> dict[str, Any]:
        told = connect.ask({"verb": "status"}, os.environ)
        assert told is not None
        return told

    def runners(self) -> list[psutil.Process]:
        """Return the processes at work; none while there is no daemon yet."""
        return psutil.Process(self.pid).children() if self.place.status.exists() else []

    def processes(self) -> list[psutil.Process]:
        """Return all processes of daemons in this folder: themselves, what clears up after them, runners."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                told = process.environ().get("EXTRECON_RUNTIME_DIR"), " ".join(process.cmdline())
            except psutil.Error:
                continue
            if told[0] == str(self.folder) and "extrecon.daemon." in told[1]:
                found.append(process)
        return found

    def daemons(self) -> list[psutil.Process]:
        return [process for process in self.processes() if process.name() == PROCESS_NAME]

    def start(self) -> int:
        channel, _ = connect.connect_or_start(os.environ)
        channel.close()
        return self.pid

    def kill(self) -> None:
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: is_gone(pid))


@pytest.fixture
def daemon(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix="ext-", dir="/tmp"))
    yield from _daemon_in(folder, monkeypatch)


@pytest.fixture(scope="module")
def shared_daemon() -> Iterator[Daemon]:
    """One daemon for all tests of a module that do it no harm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS))
        patch.setenv("PYTHONPATH", str(PLUGINS))
        yield from _daemon_in(Path(tempfile.mkdtemp(prefix="ext-", dir="/tmp")), patch, started=True)


def _daemon_in(folder: Path, patch: pytest.MonkeyPatch, *, started: bool = False) -> Iterator[Daemon]:
    patch.setenv("EXTRECON_RUNTIME_DIR", str(folder))
    patch.setenv("EXTRECON_DAEMON", "auto")
    patch.setenv("EXTRECON_IDLE_MINUTES", "5")
    found = Daemon(folder)
    if started:
        found.start()
    yield found
    for process in found.processes():
        process.kill()
    wait_for(lambda: not found.processes())
    shutil.rmtree(folder, ignore_errors=True)


def start_hook(files: JobFiles, *options: str, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [HOOK, "--gate-wait", "0", *options, files.star.name],
        cwd=files.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == code, output + errors
    return output + errors


def call(files: JobFiles, *options: str, code: int = 0, **how: Any) -> str:
    return finish(start_hook(files, *options, **how), code)


def record(files: JobFiles) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files.record.read_text())
    return found


def litter(files: JobFiles) -> list[Path]:
    return list(files.folder.glob(".*"))
