"""Reading a page as a browser would: is it whole, does it load anything, what can be read on it?"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

_VOID = {"meta", "img", "br", "hr", "input", "link"}
_LOADS = {"src", "href", "xlink:href", "data", "action", "poster", "srcset"}


class Page(HTMLParser):
    """A page that is known to be well-formed and to need no other file."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.html = path.read_text("utf-8")
        self.words: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        assert self.html.startswith("<!doctype html>")
        self.feed(self.html)
        self.close()
        assert self._open == []
        assert len(set(self.ids)) == len(self.ids)
        assert not re.search(r"url\((?!#)|@import", self.html)

    @property
    def text(self) -> str:
        """What can be read, white space made one."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    def _look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "object", "embed")
        self.tags.append(tag)
        for name, value in attrs:
            if name in _LOADS:
                assert (value or "").startswith(("data:", "#")), f"{tag} loads {value}"
            if name == "id":
                self.ids.append(value or "")
