from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from extrecon.relion import watching
from extrecon.relion.watching import FolderHints, Waiting, is_on_network


def test_hints_come_for_what_was_written_whole(tmp_path: Path) -> None:
    heard = threading.Event()
    hints = FolderHints(tmp_path, heard.set)
    assert hints.has_events
    try:
        for act in (
            lambda: (tmp_path / "new").write_text("1"),
            lambda: (tmp_path / "new").replace(tmp_path / "other"),
            (tmp_path / "other").unlink,
        ):
            heard.clear()
            act()
            assert heard.wait(5)
    finally:
        hints.stop()


class _Mount:
    def __init__(self, mountpoint: str, fstype: str) -> None:
        self.mountpoint, self.fstype = mountpoint, fstype


def test_on_a_network_file_system_there_is_looking_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [_Mount("/", "ext4"), _Mount(str(tmp_path), "nfs4"), _Mount(str(tmp_path / "local"), "xfs")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    (tmp_path / "local").mkdir()
    assert is_on_network(tmp_path)
    assert not is_on_network(tmp_path / "local")
    hints = FolderHints(tmp_path, lambda: None)
    assert not hints.has_events
    hints.stop()
    with Waiting(tmp_path) as waiting:
        waiting.wait(0.05)  # it ends by itself


def test_the_systems_limit_of_watches_means_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def schedule(self, *_: Any) -> None:
            raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(watching, "Observer", Full)
    hints = FolderHints(tmp_path, lambda: None)
    assert not hints.has_events
    hints.stop()


def test_waiting_ends_with_a_change(tmp_path: Path) -> None:
    with Waiting(tmp_path) as waiting:
        done = threading.Event()

        def wait() -> None:
            waiting.wait(30)
            done.set()

        thread = threading.Thread(target=wait)
        thread.start()
        deadline = time.monotonic() + 10
        while not done.wait(0.1):
            (tmp_path / "x").touch()
            assert time.monotonic() < deadline
        thread.join()
