"""What a runner tells of its work before any is done: which call, device, how many threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extrecon.daemon.job import Job
from extrecon.daemon.runner import label_of
from extrecon.daemon.turns import Work

STAR = "run_it005_half2_class001_external_reconstruct.star"


def work_of(values: Mapping[str, Any] | None = None, cores: int = 4) -> Work:
    told = {"device": "cpu", "threads": 0} | dict(values or {})
    return Work.of_this_process("call", told, list(range(cores)))


def request(folder: Path, star: str = STAR) -> dict[str, Any]:
    values = {"regularizer": "cnn", "apply": "local-search"}
    return {"working_directory": str(folder), "star": star, "options": {"values": values, "settings": {}}}


def test_a_relative_star_file_lies_in_the_callers_folder(tmp_path: Path) -> None:
    job = Job(None, request(tmp_path, f"Refine3D/job012/{STAR}"), 0)  # type: ignore[arg-type]  # nobody waits for it
    assert job.star == tmp_path / "Refine3D/job012" / STAR
    assert label_of(job.star) == "it005 half2 class001"
    assert label_of(Path("rec.star")) == "rec"


@pytest.mark.parametrize(
    ("device", "queue"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:3", "cuda:3")]
)
def test_work_queues_for_its_device(device: str, queue: str) -> None:
    assert work_of({"device": device}).queue == queue


def test_threads_come_from_the_options_or_the_callers_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert work_of({"threads": 3}).threads == 3
    assert work_of(cores=8).threads == 4  # of all, half: RELION calls for both half-maps at once
    assert work_of(cores=2).threads == 2  # those that a rank was bound to


@pytest.mark.parametrize(
    "change",
    [{"star": 3}, {"working_directory": None}, {"options": {}}, {"options": 3}, {"options": {"values": {}}}],
)
def test_an_incomplete_call_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):  # what the daemon answers
        Job(None, request(tmp_path) | change, 0)  # type: ignore[arg-type]  # the point of the test
