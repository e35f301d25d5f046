"""Whose allocator is retuned: that of programs of ours, never that of a program that calls the library."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

if not hasattr(ctypes.CDLL(None), "mallinfo2"):
    pytest.skip("this C library does not tell where its arrays lie", allow_module_level=True)

# By default glibc takes a large array from the kernel (mmap, counted in hblkhd), and gives it back once freed.
PROBE = """
import ctypes, sys
import numpy as np

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
    )]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo

def mapped_mb():
    return libc.mallinfo2().hblkhd / 1e6

def probe(*_, **__):
    before = mapped_mb()
    array = np.ones(8_000_000)
    print("untouched" if mapped_mb() - before > 60 else "retuned", flush=True)
    return 0
"""
LIBRARY = """
import extrecon.call.pipeline, extrecon.cli.main, extrecon.hook, extrecon.regularizer, extrecon.validate.scores
from extrecon.cli.main import COMMANDS, real_command
for name in COMMANDS:
    real_command(name)
from extrecon.fourier.compute import compute_for, cpu
from extrecon.fourier.shells import guinier_profile
guinier_profile(np.ones((16, 16, 16), np.float32), cpu(2))
guinier_profile(np.ones((16, 16, 16), np.float32), compute_for("cpu"))
probe()
"""
HOOK = """
import extrecon.call.pipeline, extrecon.hook
extrecon.call.pipeline.run_job = probe
sys.exit(extrecon.hook.main(["--daemon", "off", "none.star"]))
"""
COMMAND = """
import extrecon.cli.main as program
program.app, sys.argv = probe, ["extrecon", "{}"]
program.main()
"""


@pytest.mark.parametrize(
    ("program", "told"),
    [
        pytest.param("probe()", "untouched", id="NumPy alone"),
        pytest.param(LIBRARY, "untouched", id="the library"),
        pytest.param(HOOK, "retuned", id="the hook, whose work the daemon's runner does too"),
        pytest.param(COMMAND.format("reconstruct"), "retuned", id="a command that transforms maps"),
        pytest.param(COMMAND.format("watch"), "untouched", id="a command that runs for days"),
    ],
)
def test_only_programs_of_ours_keep_freed_memory(program: str, told: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROBE + program]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (told in ran.stdout, ran.stdout.count("\n")) == (True, 1), ran.stdout + ran.stderr
