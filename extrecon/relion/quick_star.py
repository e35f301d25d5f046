"""Reading what `history` needs of RELION's STAR files, and no more of them.

Files may be large, and change while they are read; `extrecon.relion.star` is the strict reader.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extrecon.relion import labels

FSC_OF_MODEL, AT_REST = "half-map FSC", "all bodies are fixed"
_FIRST_REFERENCE = ("data_model_class_1", "data_model_body_1")
_LONGEST_FSC = 10_000


def read_values(path: Path) -> dict[str, str]:
    """Return the values of a STAR file's first list block, as text; what follows it is not read.

    Comments and paths may hold bytes that are no UTF-8.

    Raises
    ------
    OSError : the file cannot be read.
    """
    values: dict[str, str] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split()
            if words and (words[0] == "loop_" or (words[0].startswith("data_") and values)):
                break
            if len(words) == 2 and words[0].startswith("_") and words[1] != '""':
                values[words[0][1:]] = words[1]
    return values


def read_model(path: Path) -> Mapping[str, Any]:
    """Return a model file's first values, and its half-map FSC; the long tables after that are not read."""
    return {**read_values(path), FSC_OF_MODEL: _read_fsc(path), AT_REST: _are_bodies_fixed(path)}


def _are_bodies_fixed(path: Path) -> bool:
    """Tell whether a model file has bodies, and RELION keeps all of them as they are."""
    fixed: list[bool] = []
    column = None
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split()
            if words and words[0] in _FIRST_REFERENCE:
                break
            if words[:1] == [f"_{labels.BODY_IS_FIXED}"] and len(words) == 2:
                column = int(words[1].lstrip("#")) - 1
            elif column is not None and column < len(words) and not words[0].startswith("_"):
                fixed.append(words[column] == "1")
    return bool(fixed) and all(fixed)


def _read_fsc(path: Path) -> tuple[float, ...]:
    """Return the half-map FSC of a model's first class or body; empty without one, as in a classification."""
    column, found = None, list[float]()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.split() and line.split()[0] in _FIRST_REFERENCE:
                break
        for line in lines:
            words = line.split()
            if words[:1] == [f"_{labels.HALF_MAP_FSC}"] and len(words) == 2:
                column = int(words[1].lstrip("#")) - 1
            elif words and words[0].startswith("data_"):
                break
            elif words and column is not None and not words[0].startswith(("_", "#")):
                found.append(float(words[column]) if column < len(words) else math.nan)
    is_whole = 1 < len(found) < _LONGEST_FSC and all(math.isfinite(value) for value in found)
    # Without half sets RELION writes zeros.
    return tuple(found) if is_whole and any(found[1:]) else ()
