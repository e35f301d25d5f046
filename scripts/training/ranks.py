"""Several processes that train one network together, as torchrun starts them; or one alone."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Ranks:
    """Which process of how many this is, and the device that it works on."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Tell whether this process writes, reports and validates."""
        return self.rank == 0

    def shared(self, network: nn.Module) -> nn.Module:
        """Return the network such that all processes take the same step."""
        return DistributedDataParallel(network) if self.count > 1 else network

    def agreed(self, value: float) -> float:
        """Return the leader's value: clocks differ, and all must end together."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(told, 0)
        return float(told)


def joined(device: str) -> Ranks:
    """Meet the other processes if there are any; a GPU is each one's own."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Ranks(0, 1, torch.device(device))
    own = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    return Ranks(distributed.get_rank(), count, torch.device(own))
