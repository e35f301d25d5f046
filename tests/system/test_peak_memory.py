"""How much memory a process has had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from extrecon.system.memory import peak_memory_megabytes

PROBE = """
from extrecon.system.memory import peak_memory_megabytes
before = peak_memory_megabytes()
block = b"x" * 100_000_000
del block
print(peak_memory_megabytes() - before)
"""


def test_what_was_freed_again_counts() -> None:
    if peak_memory_megabytes() is None:
        pytest.skip("this system does not tell")
    ran = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert 90 < float(ran.stdout) < 130


@pytest.mark.parametrize("text", ["", "VmHWM:", "VmHWM: x kB"])
def test_a_system_that_does_not_tell_is_stood(tmp_path: Path, text: str) -> None:
    (tmp_path / "status").write_text(text)
    assert peak_memory_megabytes(tmp_path / "status") is None
    assert peak_memory_megabytes(tmp_path / "absent") is None
