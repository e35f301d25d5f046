"""What a refinement's accumulators take on the disk, and what is left there."""

from __future__ import annotations

import shutil
from pathlib import Path

from extrecon.relion import labels
from extrecon.relion.names import CALL, MODEL
from extrecon.relion.quick_star import read_values

_MRC_HEADER_BYTES = 1024
_MOST_FILES, _LARGEST_BOX, _LARGEST_PADDING = 20, 10_000, 8


def free_bytes(folder: Path) -> int:
    """Return what this user may still write to a folder's disk."""
    return shutil.disk_usage(folder).free


def accumulator_bytes(box: int, padding: float) -> int:
    """Return the size of one accumulator file: float32, half-complex, (pN, pN, pN // 2 + 1)."""
    size = int(padding * box + 0.5)
    return _MRC_HEADER_BYTES + 4 * size * size * (size // 2 + 1)


def box_at_hand(folder: Path) -> tuple[int, float] | None:
    """Return box and padding factor of the newest refinement in a folder, or in a project's job folders."""
    newest: dict[Path, float] = {}
    for depth in ("", "*/", "*/*/"):
        for ending in (f"*{CALL}", f"*{MODEL}"):
            for path in folder.glob(depth + ending):
                try:
                    newest[path] = path.stat().st_mtime
                except OSError:  # gone meanwhile
                    continue
    for path in sorted(newest, key=newest.__getitem__, reverse=True)[:_MOST_FILES]:
        try:
            values = read_values(path)
            box, padding = int(values[labels.ORIGINAL_SIZE]), float(values[labels.PADDING_FACTOR])
        except (OSError, KeyError, ValueError):
            continue
        if 0 < box < _LARGEST_BOX and 1 <= padding <= _LARGEST_PADDING:
            return box, padding
    return None


def bytes_text(size: float) -> str:
    """Return a number of bytes for people."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e6:.1f} MB"
