"""A refinement in words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from extrecon.relion.history import CallName, Iteration
from extrecon.relion.telling import (
    HARM,
    UNCALLED,
    alarms,
    drawn_mask,
    fsc_changes,
    fsc_limit,
    given,
    harm,
    held_shells,
    sparkline,
    warnings,
)

HALVES = (CallName(1, "class", 1), CallName(2, "class", 1))


def iteration(number: int, outcome: str = "plain", reason: str = "global") -> Iteration:
    record: dict[str, object] = {"outcome": outcome, "reason": reason, "regularizer": {"name": "cnn"}}
    return Iteration(number, "run", records=dict.fromkeys(HALVES, record))


def falling(shells: int, at: float) -> tuple[float, ...]:
    """Return an FSC that is 1 up to a place and 0.05 from there on."""
    return tuple(np.where(np.arange(shells) < at, 1.0, 0.05).tolist())


def test_what_repeats_is_told_once() -> None:
    found = given([iteration(1), iteration(2), iteration(3, "regularized", "local"), iteration(4)])
    assert [str(part) for part in found] == [
        "it001–002 half1, half2: plain map (global)",
        "it003 half1, half2: regularized with cnn (local)",
        "it004 half1, half2: plain map (global)",
    ]


def test_many_classes_are_not_named_one_by_one() -> None:
    calls = [CallName(None, "class", number, has_halves=False) for number in range(1, 9)]
    record = {"outcome": "plain", "reason": "classification"}
    few, many = (Iteration(3, "run", records=dict.fromkeys(calls[:n], record)) for n in (2, 8))
    assert given([few])[0].where == "it003 class001, class002"
    assert given([many])[0].where == "it003 8 calls, class001 to class008"


def test_blush_is_named_where_it_has_made_the_maps() -> None:
    made = Iteration(3, "run", resolution_angstrom={1: 8.0, 2: 8.0}, calls=set(HALVES), by_blush=True)
    assert [str(part) for part in given([made])] == [
        "it003 half1, half2: NOT EXTRECON'S MAP (made by RELION's Blush, not by extrecon-hook: --blush wins over "
        "--external_reconstruct)"
    ]
    assert "RELION's Blush" in next(alarms([made]))[1]


def test_what_one_half_got_alone_is_told_apart() -> None:
    second = iteration(2, "regularized", "local")
    second.records[HALVES[1]] = {"outcome": "fallback", "reason": "local; but cnn failed: no"}
    found = given([iteration(1, "regularized", "local"), second, iteration(3, "regularized", "local")])
    assert [part.where for part in found] == [
        "it001 half1, half2",
        "it002 half1",
        "it002 half2",
        "it003 half1, half2",
    ]
    loud = [part for part in found if part.outcome in HARM]
    assert [str(part) for part in loud] == ["it002 half2: WARNING: PLAIN MAP RETURNED (local; but cnn failed: no)"]


def test_failures_that_differ_by_numbers_alone_are_told_together() -> None:
    maps = [iteration(n, "fallback", f"cnn failed: it correlates 0.{n}") for n in (4, 5)] + [iteration(6)]
    assert harm(maps) == [
        "4 calls up to it005, first it004 half1, half2: WARNING: PLAIN MAP RETURNED (cnn failed: it correlates 0.4)"
    ]
    assert harm([maps[0]]) == ["it004 half1, half2: WARNING: PLAIN MAP RETURNED (cnn failed: it correlates 0.4)"]
    assert harm([maps[-1]]) == []


def test_an_iteration_without_a_call_is_told() -> None:
    silent = Iteration(2, "run", resolution_angstrom={1: 8.0}, is_uncalled=True)
    found = given([iteration(1), silent])
    assert found[-1].outcome == UNCALLED
    assert "it002: RELION made no external call (RELION 4.0.2 and later need" in str(found[-1])


def test_a_warning_is_told_once() -> None:
    told = [iteration(1), iteration(2)]
    for part in told:
        for record in part.records.values():
            record["warnings"] = ["look"]  # type: ignore[index]
    assert warnings(told) == ["it001 half1: look (4 calls)"]


def test_the_fsc_is_compared_with_that_of_the_iteration_before() -> None:
    maps = [
        Iteration(0, "run"),  # RELION writes no FSC there
        Iteration(1, "run", half_map_fsc=falling(11, 5.0), pixel_size_angstrom=2.0),
        Iteration(2, "run", half_map_fsc=falling(11, 9.0), pixel_size_angstrom=2.0),
    ]
    (change,) = fsc_changes(maps)
    assert (change.now.number, change.before.number) == (2, 1)
    assert fsc_limit(change.before) == pytest.approx(20 * 2.0 / 4)
    assert fsc_limit(change.now) == pytest.approx(20 * 2.0 / 8)
    assert change.shells == 8
    assert change.mean_change == pytest.approx(4 * 0.95 / 8)  # four of eight shells
    assert str(change) == ("it002: FSC above 0.143 up to 5.00 Å (it001: 10.00 Å), mean change +0.475 over 8 shells")


def test_shells_beyond_the_images_are_not_compared() -> None:
    before = (*falling(7, 7.0), 0.0, 0.0, 0.0, 0.0)  # as RELION writes it where its images were cropped
    maps = [
        Iteration(n, "run", half_map_fsc=curve, pixel_size_angstrom=2.0)
        for n, curve in ((1, before), (2, falling(11, 11.0)))
    ]
    (change,) = fsc_changes(maps)
    assert held_shells(maps[0]) == 7
    assert (change.shells, change.mean_change) == (6, 0.0)
    assert "4.00 Å (it001: 6.67 Å, where the images used end)" in str(change)


def test_curves_of_another_box_are_not_compared() -> None:
    maps = [
        Iteration(n, "run", half_map_fsc=falling(shells, 5.0), pixel_size_angstrom=2.0)
        for n, shells in ((1, 11), (2, 13))
    ]
    assert fsc_changes(maps) == []
    assert fsc_limit(Iteration(0, "run")) == math.inf


def test_bars_follow_the_curve() -> None:
    assert sparkline([0.0, 0.5, 1.0, -0.3, 7.0], 60) == "▁▅█▁█"
    assert len(sparkline([1.0] * 500, 60)) == 60


def test_the_mask_that_follows_is_told_as_it_is_last() -> None:
    first, second, third = (iteration(number) for number in (5, 6, 7))
    assert drawn_mask([first, second, third]) == ""
    for part, volume in ((first, 200000), (second, 121000)):
        for call, record in part.records.items():
            mask = {"file": "run_extrecon_mask.mrc", "edge_angstrom": 8.5}
            mask |= {"volume_angstrom3": 2 * volume, "particle_angstrom3": volume}
            part.records[call] = {**record, "solvent_mask": mask}
    for call, record in third.records.items():
        third.records[call] = {**record, "solvent_mask": {"left": "nothing rises above the noise"}}
    assert drawn_mask([first, second, third]) == (
        "it006: solvent mask of 242000 Å³ with an edge of 8.5 Å around a particle of 121000 Å³ (100 kDa of "
        "protein), drawn anew in 2 iterations"
    )
