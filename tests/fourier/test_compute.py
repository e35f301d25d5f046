"""What a back end tells of itself."""

from __future__ import annotations

import os

import pytest
import torch

from extrecon.fourier.compute import Compute, TorchCompute, compute_for, cpu

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("compute", "name", "threads", "on_host"),
    [
        (cpu(3), "cpu, 3 threads", 3, True),
        (cpu(), f"cpu, {CORES} thread{'s' if CORES > 1 else ''}", CORES, True),
        (compute_for("cpu", 1), "cpu, 1 thread", 1, True),
        (TorchCompute("cpu", 3), "cpu", 3, False),
        (TorchCompute("cpu"), "cpu", torch.get_num_threads(), False),
    ],
    ids=["three", "all", "one", "torch, three", "torch's own"],
)
def test_a_back_end_tells_device_and_threads(compute: Compute, name: str, threads: int, on_host: bool) -> None:
    assert (compute.name, compute.threads, compute.on_host) == (name, threads, on_host)
    assert torch.device(compute.device) == torch.device("cpu")
