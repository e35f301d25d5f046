"""The arms' final maps in one picture, of the first seed that most of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from extrecon.compare.baseline import Score, arms_of
from extrecon.compare.scoring import finished_job
from extrecon.errors import ExtreconError
from extrecon.maps import HalfMap
from extrecon.maps.mrc import read_map
from extrecon.pictures.arms import draw_arms

PICTURE = "comparison_maps.png"


def draw_final_maps(folder: Path, scores: Sequence[Score], order: Sequence[str]) -> list[Path]:
    """Write ``comparison_maps.png`` and return its path; nothing if no run has kept a map, or they differ in size.

    Parameters
    ----------
    folder : of the comparison
    """
    if not scores:
        return []
    seed = Counter(score["seed"] for score in scores).most_common(1)[0][0]
    maps: dict[str, HalfMap] = {}
    for arm in arms_of(scores, order):
        with suppress(ExtreconError, OSError):  # somebody removed them: the scores stay
            maps[arm] = read_map(finished_job(folder / f"{arm}_{seed}")[0])
    if not maps or len({each.box for each in maps.values()}) > 1:
        return []
    draw_arms(folder / PICTURE, maps, f"final maps of seed {seed}")
    return [folder / PICTURE]
