"""The arm to beat: RELION by itself, with the best options that it was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extrecon.compare.arms import RELIONS_OWN_PROGRAM
from extrecon.compare.columns import BY_KEY, RANKING, ranked_by
from extrecon.relion.first_mask import CORRECTED_FSC

Score = dict[str, Any]


def arms_of(scores: Sequence[Score], order: Sequence[str]) -> list[str]:
    """Return the arms that have a score, in the order asked for."""
    found = {score["arm"] for score in scores}
    return [arm for arm in order if arm in found]


def plain_arms(scores: Sequence[Score], order: Sequence[str]) -> list[str]:
    """Return the arms whose maps are RELION's own, whatever options RELION has and whoever draws its mask."""
    return [arm for arm in arms_of(scores, order) if any(_is_plain(s) for s in scores if s["arm"] == arm)]


def reference_arm(scores: Sequence[Score], order: Sequence[str]) -> str:
    """Return the arm that the others are compared with: the strongest plain one, else the first of all.

    The strongest is told by `ranked_by`, in the mean over the seeds that all plain arms have.
    """
    plain = plain_arms(scores, order)
    if not plain:
        return arms_of(scores, order)[0]
    key = ranked_by([score for score in scores if score["arm"] in plain])
    found = {arm: {s["seed"]: s.get(key, np.inf) for s in scores if s["arm"] == arm} for arm in plain}
    common = set.intersection(*(set(each) for each in found.values()))
    means = {
        arm: float(np.mean([value for seed, value in each.items() if seed in common or not common]))
        for arm, each in found.items()
    }
    return min(plain, key=lambda arm: -BY_KEY[key].better * means[arm])


def paired_by_seed(scores: Sequence[Score], arm: str, first: str) -> list[tuple[Score, Score]]:
    """Return each run of an arm with the run of another, ``first``, that has the same seed."""
    by_seed = {score["seed"]: score for score in scores if score["arm"] == first}
    return [(score, by_seed[score["seed"]]) for score in scores if score["arm"] == arm and score["seed"] in by_seed]


def relion_options(scores: Sequence[Score], arm: str) -> list[str]:
    """Return RELION's options that an arm alone has, paths shortened; runs of earlier versions have none."""
    told: list[str] = next((score.get("relion_options", []) for score in scores if score["arm"] == arm), [])
    return [Path(word).name if word.startswith("/") else word for word in told]


def to_beat(scores: Sequence[Score], order: Sequence[str]) -> str:
    """Return a sentence or two on the arm that the others are compared with."""
    best, plain = reference_arm(scores, order), plain_arms(scores, order)
    if not plain:
        return (
            f"Differences are to {best}: no arm is RELION by itself (--arm plain), which is what is to be beaten."
        )
    if len(plain) > 1:
        key = ranked_by([score for score in scores if score["arm"] in plain])
        by = RANKING.get(key, "RELION's finest resolution")
        return f"The arm to beat is {best}, of {len(plain)} plain ones that with {by}."
    if CORRECTED_FSC in relion_options(scores, best):
        return f"The arm to beat is {best}, the only plain one."
    return (
        f"The arm to beat is {best}, the only plain one. RELION by itself can do better with a mask and "
        f"{CORRECTED_FSC} (--make-mask)."
    )


def _is_plain(score: Score) -> bool:
    command = score.get("provenance", {}).get("arm_command")  # all that runs of earlier versions tell
    return bool(score.get("plain", command == RELIONS_OWN_PROGRAM))
