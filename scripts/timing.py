"""What the benchmarks share: a yardstick for the machine, and measuring in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft

from extrecon.system.memory import keep_freed_memory

REFERENCE_FFT_SECONDS = 53.5 / 700
"""CPU seconds of one float64 200³ rfftn where the reference programs were timed."""


def fft_seconds() -> float:
    """Return the CPU seconds of one float64 200³ rfftn on one thread: the median of seven."""
    volume = np.random.default_rng(0).standard_normal((200, 200, 200))
    taken = []
    for _ in range(8):
        start = time.process_time()
        scipy.fft.rfftn(volume, workers=1)
        taken.append(time.process_time() - start)
    return float(np.median(taken[1:]))


def measured(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``work`` says, the seconds it took, and this process's peak memory."""
    keep_freed_memory()  # as the hook and the commands do
    cpu, wall = time.process_time(), time.perf_counter()
    facts = work()
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        **facts,
    }


def in_a_process_of_its_own(program: str, *words: str) -> dict[str, Any]:
    """Run ``program --measure words…`` in a new process and return the JSON that it prints."""
    command = [sys.executable, program, "--measure", *words]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    taken: dict[str, Any] = json.loads(answer)
    return taken
