"""Tables and warnings, from scores whose means are known."""

from __future__ import annotations

from typing import Any

import pytest

from extrecon.compare import report


def score(arm: str, seed: int, error: float, **more: Any) -> dict[str, Any]:
    known = {"calls_hook": False, "calls": 0, "regularized": 0, "fallbacks": 0}
    return {"arm": arm, "seed": seed, "median_error_degrees": error, **known, **more}


def test_differences_are_taken_seed_by_seed() -> None:
    # The seeds differ by far more than the arms do.
    runs = [score("plain", s, 10.0 * s) for s in (1, 2, 3)] + [score("x", s, 10.0 * s - 0.5) for s in (1, 2)]
    found = report.paired_differences(runs, "x", "plain")["median_error_degrees"]
    assert (found.mean, found.sd, found.seeds) == (-0.5, 0.0, 2)
    assert report.spreads(runs, "plain")["median_error_degrees"].text(1) == "20.0 ± 10.0"


def test_a_single_seed_has_no_spread() -> None:
    runs = [score("plain", 1, 2.0), score("x", 1, 1.5)]
    table = report.rows(runs, ["plain", "x"])
    place = table[0].index("median angular error, °")
    assert [row[place] for row in table[1:]] == ["2.000", "1.500", "-0.500"]
    assert "±" not in report.markdown(table)


def test_a_score_that_one_run_lacks_is_left_out_of_its_arm() -> None:
    runs = [score("plain", 1, 2.0, mean_q_score=0.5), score("plain", 2, 2.0), score("x", 1, 2.0, mean_q_score=0.7)]
    assert "mean_q_score" not in report.spreads(runs, "plain")
    assert report.spreads(runs, "x")["mean_q_score"].mean == pytest.approx(0.7)
    infinite = [score("plain", 1, 2.0, resolution_angstrom=float("inf"))]
    assert "resolution_angstrom" not in report.spreads(infinite, "plain")


def test_what_makes_an_arm_no_arm_is_told() -> None:
    hook = {"calls_hook": True, "calls": 8}
    told = report.warnings(
        [
            score("good", 1, 1.0, **hook | {"regularized": 8}),
            score("failed", 1, 1.0, **hook | {"regularized": 3, "fallbacks": 5}),
            score("lost", 1, 1.0, calls_hook=True),
            score("idle", 1, 1.0, **hook),
        ]
    )
    assert [line.split(",")[0] for line in told] == ["failed", "lost", "idle"]
