"""Pages of HTML that need no other file: one style for all, light and dark, from a phone to a wide screen.

Everything that is put into a page is text, and escaped here, unless it is `Html`.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from extrecon.system.files import replacing
from extrecon.system.json_text import printable

Mood = Literal["bad", "warn", "good", "note"]

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b2127;--soft:#57626c;--line:#d8dee4;--card:#f4f6f8;
--half1:#1c6cb0;--half2:#bf540a;--joined:#1b2127;--good:#1a7a48;--good-fill:#cfeadb;--bad:#b3261e;
--bad-fill:#fbdcd8;--warn:#855700;--warn-fill:#fcefcd;--note-fill:#e3edf7;--faint:#b4bdc6;
--stage0:#4a7fb5;--stage1:#e08a3c;--stage2:#5aa469;--stage3:#c65b5b;--stage4:#8b6fb3;--stage5:#8a6d5a;
--stage6:#d27fb4;--stage7:#7d8790}
@media (prefers-color-scheme:dark){:root{--page:#14181c;--ink:#e4e8ec;--soft:#a3adb7;--line:#353d45;--card:#1e242a;
--half1:#6db1ee;--half2:#f0a35c;--joined:#e4e8ec;--good:#6fcf9a;--good-fill:#1d4a33;--bad:#ff8f85;
--bad-fill:#5a2320;--warn:#f2c55c;--warn-fill:#463510;--note-fill:#1d3247;--faint:#5a646e}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
main{max-width:1160px;margin:0 auto;padding:1.5rem 1.25rem 4rem;overflow-wrap:anywhere}
h1{font-size:1.75rem;line-height:1.2;margin:.2em 0 .1em}
h2{font-size:1.25rem;margin:2.4rem 0 .6rem;padding-top:.9rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
p{margin:.5rem 0;max-width:75ch}
.soft,figcaption,td.soft{color:var(--soft)}
.soft,figcaption{font-size:.9rem}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
pre{background:var(--card);padding:.8rem 1rem;border-radius:6px;white-space:pre-wrap;margin:.5rem 0}
blockquote{margin:.6rem 0;padding:.9rem 1.1rem;background:var(--card);border-radius:6px}
blockquote p{max-width:none}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.6rem,1fr));gap:.75rem;margin:1.2rem 0}
.card{background:var(--card);border-radius:8px;padding:.7rem .9rem}
.card b{display:block;font-size:1.4rem;line-height:1.25;font-weight:650}
.card span{color:var(--soft);font-size:.85rem}
.card.bad b{color:var(--bad)}.card.good b{color:var(--good)}.card.warn b{color:var(--warn)}
.alert{border-left:5px solid var(--note);background:var(--note-fill);padding:.7rem 1rem;border-radius:4px;
margin:.7rem 0}
.alert.bad{border-color:var(--bad);background:var(--bad-fill)}
.alert.warn{border-color:var(--warn);background:var(--warn-fill)}
.alert.good{border-color:var(--good);background:var(--good-fill)}
.alert.note{border-color:var(--half1)}
.alert ul{margin:.3rem 0;padding-left:1.2rem}
.wide{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;color:var(--soft);white-space:nowrap}
th,td{padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td{overflow-wrap:normal;word-break:normal}
table.pairs td:first-child{white-space:nowrap;color:var(--soft)}
table.pairs td{overflow-wrap:anywhere}
table.stacked td:nth-child(-n+3){white-space:nowrap}
table.scores td:nth-child(2){white-space:nowrap;font-weight:600}
.tag{display:inline-block;padding:0 .5em;border-radius:4px;white-space:nowrap;background:var(--card)}
.tag.good{background:var(--good-fill)}.tag.bad{background:var(--bad-fill);font-weight:650}
.tag.warn{background:var(--warn-fill)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));gap:1rem 1.6rem}
figure{margin:.6rem 0;min-width:0}
svg.plot{display:block;width:100%;max-width:500px;height:auto;color:var(--ink)}
svg.plot *{stroke-linejoin:round}
svg.plot text{fill:currentColor;font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,
"DejaVu Sans",sans-serif}
.slices{display:grid;grid-template-columns:repeat(2,1fr);gap:.5rem}
.slices figure{margin:0}.slices img{display:block;width:100%;height:auto;border-radius:4px;background:#000}
.slices.single{grid-template-columns:repeat(3,1fr)}
@media (min-width:860px){.slices{grid-template-columns:repeat(6,1fr)}.slices.single{grid-template-columns:
repeat(6,1fr)}}
details{margin:.6rem 0}summary{cursor:pointer;font-weight:600}
footer{margin-top:3rem;color:var(--soft);font-size:.85rem;border-top:1px solid var(--line);padding-top:.8rem}
@media (max-width:600px){main{padding:1rem .9rem 3rem}h1{font-size:1.4rem}table{font-size:.86rem}
table.stacked thead{display:none}
table.stacked td,table.stacked td:nth-child(-n+3){display:block;border:0;padding:.1rem 0;
white-space:normal}
table.stacked td{overflow-wrap:anywhere}table.stacked td:first-child::before{content:"iteration "}
table.stacked tr{display:block;border-bottom:1px solid var(--line);padding:.5rem 0}
table.pairs td:first-child{white-space:normal;min-width:6.5rem}}
@media print{details>*{display:block}h2{break-after:avoid}figure,tr{break-inside:avoid}}
"""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Html


def escaped(text: Content) -> Html:
    """Return text as HTML; HTML as it is."""
    return text if isinstance(text, Html) else Html(html.escape(printable(text)))


def joined(parts: Iterable[Content]) -> Html:
    """Return parts one after the other."""
    return Html("".join(escaped(part) for part in parts))


def element(name: str, *content: Content, **attributes: str) -> Html:
    """Return an element; ``class_`` is the attribute class, and ``aria_label`` aria-label."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(printable(value))}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{told}>{joined(content)}</{name}>")


def paragraph(*content: Content, class_: str = "") -> Html:
    """Return a paragraph."""
    return element("p", *content, **({"class_": class_} if class_ else {}))


def section(title: str, *content: Content) -> Html:
    """Return a part of the page with its heading; nothing if there is no content."""
    inner = joined(content)
    return element("section", element("h2", title), inner) if inner else Html("")


def alert(mood: Mood, *content: Content) -> Html:
    """Return a box that stands out."""
    return element("div", *content, class_=f"alert {mood}")


def listing(items: Iterable[Content]) -> Html:
    """Return a list with a bullet an item."""
    return element("ul", *(element("li", item) for item in items))


def tag(text: str, mood: str = "") -> Html:
    """Return a word with a coloured ground."""
    return element("span", text, class_=f"tag {mood}".strip())


def cards(facts: Iterable[tuple[str, str, str]]) -> Html:
    """Return the numbers that matter most, each a value, what it is, and its mood, "" for none."""
    return element(
        "div",
        *(
            element("div", element("b", value), element("span", what), class_=f"card {mood}".strip())
            for value, what, mood in facts
        ),
        class_="cards",
    )


def table(rows: Iterable[Sequence[Content]], head: Sequence[str] = (), kind: str = "") -> Html:
    """Return a table that scrolls by itself where it is wider than the screen.

    Parameters
    ----------
    kind : "pairs" for names and values; "scores" with a value in the second column; "stacked" for rows that a
        phone shows as blocks
    """
    top = [element("thead", element("tr", *(element("th", cell) for cell in head)))] if head else []
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    attributes = {"class_": kind} if kind else {}
    return element("div", element("table", *top, element("tbody", *body), **attributes), class_="wide")


def folded(summary: str, *content: Content) -> Html:
    """Return content that is shown when its summary is clicked."""
    return element("details", element("summary", summary), *content)


def picture(png: bytes, description: str, caption: Content = "") -> Html:
    """Return an image that is part of the page."""
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    image = Html(f'<img alt="{html.escape(printable(description))}" src="{source}">')
    return element("figure", image, *([element("figcaption", caption)] if caption else []))


def write_page(path: Path, title: str, *content: Content) -> None:
    """Write a page, replacing an old one in one step.

    Raises
    ------
    OutputError : the folder is missing or read-only, or the disk is full.
    """
    head = Html(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style>"
    )
    body = element("body", element("main", *content))
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>{body}</html>\n'
    with replacing(path) as temporary:
        temporary.write_text(page, "utf-8")
