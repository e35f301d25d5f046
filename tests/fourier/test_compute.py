"""What a back end tells of itself."""

from __future__ import annotations

import os
from typing import Any, cast

import numpy as np
import pytest
import torch

from extrecon.fourier.compute import Compute, TorchCompute, compute_for, cpu
from extrecon_regularizers.cnn.apply import apply_network

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


class Watching(torch.nn.Module):
    """A network that changes nothing, and notes on how many threads it was run."""

    def __init__(self) -> None:
        super().__init__()
        self.ran_on: list[int] = []

    def forward(self, inputs: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.ran_on.append(torch.get_num_threads())
        return inputs[:, 0], inputs[:, 1]


@pytest.mark.parametrize("compute", [cpu(2), TorchCompute("cpu", 3)], ids=["numpy", "torch"])
def test_the_network_runs_on_the_threads_of_its_back_end(compute: Compute) -> None:
    network, before = Watching(), torch.get_num_threads()
    inputs = np.zeros((2, 8, 8, 8), np.float32)
    apply_network(cast("Any", network), inputs, np.zeros(2, np.float32), compute)
    assert network.ran_on == [compute.threads]
    assert torch.get_num_threads() == before
