"""What a user may have meant by a name that is not known. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

_Value = TypeVar("_Value")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest known name, with a space before it; empty if none is near."""
    names = {_plain(each): each for each in known}
    near = [_plain(name)] if _plain(name) in names else _close(_plain(name), list(names))
    return f" Did you mean '{names[near[0]]}'?" if near else ""


def with_dashes(given: Mapping[str, _Value], known: Iterable[str]) -> dict[str, _Value]:
    """Return a mapping with ``max_resolution`` named ``max-resolution``, where that is what is known."""
    names = set(known)
    return {_dashed(name, names): value for name, value in given.items()}


def _dashed(name: str, known: set[str]) -> str:
    dashed = name.replace("_", "-")
    return dashed if name not in known and dashed in known else name


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _close(name: str, known: list[str]) -> list[str]:
    from difflib import get_close_matches  # it would cost every call of the hook some milliseconds

    return get_close_matches(name, known, n=1)
