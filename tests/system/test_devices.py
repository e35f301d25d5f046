"""Which device and how many threads a call gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from extrecon.system import devices
from extrecon.system.devices import nvidia_driver_is_loaded, queue_of, threads_of_a_call


@pytest.mark.parametrize("present", [True, False])
def test_a_driver_is_known_by_its_device_file(
    present: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_DRIVERS", (tmp_path / "nvidiactl", tmp_path / "dxg"))
    if present:
        (tmp_path / "dxg").touch()
    assert nvidia_driver_is_loaded() is present
    monkeypatch.setattr(devices, "is_installed", lambda package: package == "torch")
    assert queue_of("auto") == ("cuda:0" if present else "cpu")
    monkeypatch.setattr(devices, "is_installed", lambda _package: False)
    assert queue_of("auto") == "cpu"  # a GPU that nothing here can use has no queue


@pytest.mark.parametrize(("device", "queue"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:3", "cuda:3")])
def test_a_named_device_is_its_own_queue(device: str, queue: str) -> None:
    assert queue_of(device) == queue


@pytest.mark.parametrize(
    ("asked", "cores", "threads"),
    [(3, 8, 3), (16, 8, 16), (0, 8, 4), (0, 6, 6), (0, 1, 1)],
    ids=["as asked", "more than there are", "half the machine", "all that it was bound to", "one at least"],
)
def test_two_calls_share_a_machine_and_a_bound_rank_has_its_cores(
    asked: int, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert threads_of_a_call(asked, cores) == threads


def test_a_machine_of_one_core_has_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert threads_of_a_call(0, 1) == 1
