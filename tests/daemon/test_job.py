from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extrecon.daemon.job import BYTES_PER_WEIGHT_BYTE, LONGEST_STAGE, QueuedJob, fraction_of

STAR = "run_it005_half2_class001_external_reconstruct.star"


def job_of(folder: Path, star: str = STAR, values: Mapping[str, Any] | None = None, cores: int = 4) -> QueuedJob:
    """Return a job as the client's message describes it."""
    told = {"device": "cpu", "threads": 0} | dict(values or {})
    request = {"working_directory": str(folder), "star": star, "options": {"values": told}}
    return QueuedJob(None, request | {"cores": list(range(cores))})  # type: ignore[arg-type]  # nobody waits for it


def test_a_relative_star_file_lies_in_the_callers_folder(tmp_path: Path) -> None:
    job = job_of(tmp_path, f"Refine3D/job012/{STAR}")
    assert job.star == tmp_path / "Refine3D/job012" / STAR
    assert job.label == "it005 half2 class001"
    assert job_of(tmp_path, f"/data/{STAR}").star == Path("/data", STAR)
    assert job_of(tmp_path, "rec.star").label == "rec"


@pytest.mark.parametrize(
    ("device", "queue"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:3", "cuda:3")]
)
def test_a_job_queues_for_its_device(device: str, queue: str, tmp_path: Path) -> None:
    assert job_of(tmp_path, values={"device": device}).queue == queue


def test_threads_come_from_the_options_or_the_callers_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert job_of(tmp_path, values={"threads": 3}).threads == 3
    assert job_of(tmp_path, cores=8).threads == 4  # of all, half: RELION calls for both half-maps at once
    assert job_of(tmp_path, cores=2).threads == 2  # those that a rank was bound to


def test_memory_follows_from_the_weights(tmp_path: Path) -> None:
    assert job_of(tmp_path).memory_bytes == 0  # they are not there yet
    (tmp_path / STAR.replace(".star", "_weight.mrc")).write_bytes(bytes(100))
    assert job_of(tmp_path).memory_bytes == 100 * BYTES_PER_WEIGHT_BYTE


@pytest.mark.parametrize(
    "change",
    [{"star": 3}, {"working_directory": None}, {"options": {}}, {"options": 3}, {"cores": 2}]
    + [{"options": {"values": values}} for values in ({}, {"device": "cpu"}, {"device": "cpu", "threads": "x"})],
)
def test_an_incomplete_call_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):  # what the broker answers
        QueuedJob(None, job_of(tmp_path).request | change)  # type: ignore[arg-type]  # the point of the test


def test_whatever_a_plugin_reports_is_stood(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    job.hear({"stage": "x" * 10_000, "fraction": "half"})
    assert len(job.describe()) < LONGEST_STAGE + 60
    job.hear({"turn": "cleaner"})
    job.hear({"aside": "yes"})
    assert not job.at_regularizer
    assert not job.aside


@pytest.mark.parametrize(
    ("told", "fraction"),
    [(0.25, 0.25), (-1, 0.0), (7, 1.0), (math.nan, 0.0), (math.inf, 0.0), ("0.5", 0.5), ("x", 0.0), (None, 0.0)],
)
def test_a_fraction_lies_from_0_to_1(told: object, fraction: float) -> None:
    assert fraction_of(told) == fraction
