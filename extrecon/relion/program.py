"""RELION's programs, as they are installed."""

from __future__ import annotations

import re
import subprocess

VARIABLE = "RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"
"""What RELION runs for each external reconstruction, through a shell."""


def relion_version(program: str) -> tuple[int, ...] | None:
    """Return RELION's version as numbers, or None if the program does not tell."""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"RELION version:\s*(\d+(?:\.\d+)*)", told.stdout + told.stderr)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def is_open_mpi(program: str) -> bool:
    """Tell whether an mpirun is Open MPI's."""
    try:
        told = subprocess.run(
            [program, "--version"], capture_output=True, text=True, errors="replace", timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return re.search(r"Open ?MPI|OpenRTE", told.stdout + told.stderr) is not None
