"""How the site reads the docstrings of this project: ``name : meaning``, and free words elsewhere.

NumPy's own convention has a type after the colon; here types stand in the signature alone.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

_SECTION = re.compile(r"^(Parameters|Attributes|Raises|Returns)\n-+\n", re.MULTILINE)
_ITEM = re.compile(r"^(\S[^:\n]*?) : (.*(?:\n[ ]+.*)*)", re.MULTILINE)


class HouseStyle(Extension):
    """Turns sections into lists that any Markdown reader shows."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite an object's docstring before it is read."""
        if obj.docstring is not None:
            obj.docstring.value = as_lists(obj.docstring.value)


def as_lists(text: str) -> str:
    """Return a docstring whose sections are a bold word and a list, or a paragraph where nothing is named."""
    parts = _SECTION.split(text)
    told = [parts[0].rstrip()]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        told.append(f"**{title}**\n\n{_ITEM.sub(_item, body).strip()}")
    return "\n\n".join(told)


def _item(found: re.Match[str]) -> str:
    names = ", ".join(f"`{name.strip()}`" for name in found[1].split(","))
    return f"- {names}: {' '.join(found[2].split())}"
