"""A record of extrecon's as others may rely on it, whatever its file holds. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LONGEST_SECONDS = 1e9


def read_record(path: Path) -> Mapping[str, Any]:
    """Return a record whose fields are what the readers of `Iteration.records` rely on, whatever the file holds."""
    record = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    if not isinstance(record, dict):
        return {}
    return record | {key: clean(record[key]) for key, clean in _CLEANERS.items() if key in record}


def _text(value: Any) -> str:
    """Return a value as text that any terminal can be sent."""
    text = value if isinstance(value, str) else str(value)
    whole = text.encode("utf-8", errors="replace").decode("utf-8")
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in whole)


def _seconds(value: Any) -> dict[str, float]:
    numbers = value.items() if isinstance(value, dict) else ()
    return {_text(k): float(v) for k, v in numbers if isinstance(v, int | float) and abs(v) < _LONGEST_SECONDS}


def _texts(value: Any) -> list[str]:
    return [_text(part) for part in value] if isinstance(value, list) else []


def _named(value: Any) -> dict[str, Any] | None:
    return value | {"name": _text(value.get("name"))} if isinstance(value, dict) else None


_CLEANERS = {"outcome": _text, "reason": _text, "seconds": _seconds, "warnings": _texts, "regularizer": _named}
