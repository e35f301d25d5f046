"""How much memory is left: the host's, or what control groups leave of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from extrecon.system.memory import available_memory_bytes, resident_bytes

MB = 1024**2


def host(folder: Path, available_mb: int, group: str) -> Path:
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {1024 * available_mb} kB\nX: 1 kB\n")
    (folder / "proc" / "self" / "cgroup").write_text(group)
    return folder / "proc"


def limited(folder: Path, names: tuple[str, str, str], most: str, used_mb: int, files_mb: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used_mb * MB}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {files_mb * MB}\n")


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.mark.parametrize(
    ("line", "root", "names"),
    [("0::/job/step\n", "groups", V2), ("5:cpu:/x\n8:cpuset,memory:/job/step\n0::/\n", "groups/memory", V1)],
    ids=["version 2", "version 1"],
)
def test_a_batch_systems_limit_counts(line: str, root: str, names: tuple[str, str, str], tmp_path: Path) -> None:
    proc, groups = host(tmp_path, 900, line), tmp_path / "groups"
    assert available_memory_bytes(proc, groups) == 900 * MB  # nothing is known of limits
    limited(tmp_path / root / "job/step", names, "max" if names == V2 else str(2**63 - 4096), 100, 0)
    assert available_memory_bytes(proc, groups) == 900 * MB
    limited(tmp_path / root / "job", names, str(500 * MB), 300, 50)  # one above counts as well
    assert available_memory_bytes(proc, groups) == 250 * MB
    limited(tmp_path / root / "job/step", names, str(100 * MB), 120, 0)
    assert available_memory_bytes(proc, groups) == 0


def test_a_system_that_does_not_tell_has_none(tmp_path: Path) -> None:
    assert available_memory_bytes(tmp_path / "absent", tmp_path) == 0
    assert available_memory_bytes() > 100 * MB
    assert resident_bytes(os.getpid()) > MB
    assert resident_bytes(2**22 + 1) == 0
