"""A script that opens a refinement's maps in ChimeraX, each as it was written.

ChimeraX runs a script in the script's own folder, so that paths count from there. A quoted name ends at a quotation
mark that white space follows. Both by ChimeraX's documentation (commands `open` and `volume`, module scripting).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from extrecon.pictures.shown_maps import Look, Pair, contour_share
from extrecon.relion.account import Account
from extrecon.system.files import replacing
from extrecon.system.json_text import printable

_PLAIN, _REGULARIZED, _MASK = "#9aa5b1", "#3f8fd2", "#e0a030"
_MASK_LEVEL = 0.5


@dataclass(frozen=True)
class Opened:
    """One map that a script opens.

    Attributes
    ----------
    path : of the map
    name : in ChimeraX's list of models
    level : of the contour; None: ChimeraX's own choice
    colour : as #rrggbb
    is_shown : whether it is seen at once
    transparency : 0 to 1
    """

    path: Path
    name: str
    level: float | None
    colour: str
    is_shown: bool = True
    transparency: float = 0.0


def maps_to_open(pairs: Sequence[Pair], looks: Mapping[Path, Look], mask: Path | None) -> list[Opened]:
    """Return the maps of a refinement for a script: the first pair is shown, the others wait in the list."""
    found = []
    for place, pair in enumerate(pairs):
        veil = 0.5 if pair.regularized else 0.0  # the regularized map is seen through the plain one
        for path, what, colour, transparency in (
            (pair.plain, "plain", _PLAIN, veil),
            (pair.regularized, "regularized", _REGULARIZED, 0.0),
        ):
            if path is not None and path in looks:
                name, level = f"{pair.label}, {what}", looks[path].level
                found.append(Opened(path, name, level, colour, place == 0, transparency))
    if mask is not None:
        found.append(Opened(mask, "mask", _MASK_LEVEL, _MASK, is_shown=False, transparency=0.7))
    return found


def before_and_after(pairs: Sequence[tuple[Path, Path]]) -> list[Opened]:
    """Return maps and what was made of them: the first pair is shown."""
    found = []
    for place, (before, after) in enumerate(pairs):
        found.append(Opened(before, before.stem, None, _PLAIN, place == 0, 0.5))
        found.append(Opened(after, after.stem, None, _REGULARIZED, place == 0))
    return found


def level_told(account: Account, pairs: Sequence[Pair]) -> str:
    """Return how the contour levels were chosen, for the script's comment and the page."""
    ways = dict.fromkeys(contour_share(pair, account)[1] for pair in pairs)
    told = " or ".join(ways)
    return f"each map's level encloses {told}" if pairs and "own choice" not in told else f"levels: {told}"


def write_script(path: Path, opened: Sequence[Opened], comments: Sequence[str]) -> list[str]:
    """Write the script and return a sentence for each map whose name ChimeraX cannot be told.

    Raises
    ------
    OutputError : the folder is missing or read-only, or the disk is full.
    """
    lines = [f"# {' '.join(printable(text).split())}" for text in comments]
    problems = []
    number = 0
    for each in opened:
        name = _quoted(os.path.relpath(each.path, path.parent))
        if name is None:
            told = f"ChimeraX cannot be told the name {printable(str(each.path))!r}: open it by hand"
            problems.append(told)
            lines.append(f"# {told}")
            continue
        number += 1
        lines.append(f"open {name} name {_quoted(each.name)}")
        style = f"volume #{number} style surface step 1 color {each.colour} transparency {each.transparency:g}"
        lines.append(style + (f" level {each.level:.6g}" if each.level is not None else ""))
        if not each.is_shown:
            lines.append(f"hide #{number} models")
    if number:
        lines += ["set bgColor white", "lighting soft", "view"]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")
    return problems


def _quoted(name: str) -> str | None:
    """Return a name as ChimeraX reads it; None if it cannot be told."""
    if name != printable(name) or not name.isprintable() or name.startswith("~"):
        return None
    for mark in ('"', "'"):
        if re.search(rf"{mark}(\s|$)", name) is None and not name.startswith(mark):
            return f"{mark}{name}{mark}"
    return None
