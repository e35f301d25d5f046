"""Turning whatever a plugin or a file holds into JSON that can be written and read again. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEEPEST = 12
MOST_ITEMS = 10_000


def to_json(content: Mapping[str, Any]) -> str:
    """Return a mapping as JSON text: what JSON does not know becomes text, what is too deep or too long is cut."""
    return json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any, depth: int = 0) -> Any:  # noqa: PLR0911  a kind of value, a line
    """Return a copy of ``value`` that holds nothing but what JSON knows, and text that UTF-8 knows."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return printable(value)
    if depth >= DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        items = list(value.items())[:MOST_ITEMS]
        return {printable(key if isinstance(key, str) else text_of(key)): plain(v, depth + 1) for key, v in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in list(value)[:MOST_ITEMS]]
    return _foreign(value, depth)


def printable(text: str) -> str:
    """Return text that can be encoded: a lone surrogate, as a file's name may hold, becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def text_of(value: object) -> str:
    """Return the text of anything, of an exception say, whatever its own conversion does."""
    try:
        return printable(str(value))
    except BaseException as error:  # noqa: BLE001  it is foreign code
        return f"{type(value).__name__} (its text cannot be had: {type(error).__name__})"


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds; empty if it is missing, damaged, or something else.

    A pipe or a device is something else: reading it might never end.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _foreign(value: Any, depth: int) -> Any:
    """Return a NumPy scalar or small array as numbers, anything else as text."""
    size = getattr(value, "size", None)
    if hasattr(value, "tolist") and isinstance(size, int):
        if size > MOST_ITEMS:
            return f"array of {size} values"
        try:
            return plain(value.tolist(), depth + 1)
        except Exception:  # noqa: BLE001  it only looked like an array
            return text_of(value)
    return text_of(value)
