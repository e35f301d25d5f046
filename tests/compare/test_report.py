"""Tables and warnings, from scores whose means are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extrecon.compare import baseline, columns, report


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


def test_a_wide_table_becomes_several_with_the_same_arms() -> None:
    scores = [column.key for column in columns.COLUMNS[:16]]
    table = report.rows([{**score("plain", 1, 2.0), **dict.fromkeys(scores, 2.0)}], ["plain"])
    parts = report.narrow(table)
    assert [len(part[0]) for part in parts] == [8, 8, 7]
    assert all(row[:2] == table[place][:2] for part in parts for place, row in enumerate(part))
    assert [cell for part in parts for cell in part[1][2:]] == table[1][2:]
    assert report.narrow([["arm", "seeds"]]) == [[["arm", "seeds"]]]


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


def own(arm: str, **more: Any) -> dict[str, Any]:
    """Return scores without a truth."""
    known = {"calls_hook": False, "calls": 0, "regularized": 0, "fallbacks": 0, "plain": arm != "cnn"}
    return {"arm": arm, "seed": 1, "corrected_resolution_angstrom": 8.0, **known, **more}


@pytest.mark.parametrize(
    ("key", "better", "said"),
    [
        ("held_out_nats_at_best_filter", 5.0, columns.RANKING["held_out_nats_at_best_filter"]),
        ("held_out_nats", 5.0, "the largest log-likelihood of held-out particles"),
        ("mean_model_fsc", 0.9, "the largest FSC with the model"),
        ("mean_reference_fsc", 0.9, "the largest FSC with the reference map"),
        ("corrected_resolution_angstrom", 7.0, "the finest half-map resolution, corrected for the mask"),
    ],
)
def test_the_arm_to_beat_is_told_by_what_says_most(key: str, better: float, said: str) -> None:
    order = list(columns.RANKING)
    # All that says less speaks for the other arm.
    less = dict.fromkeys(order[order.index(key) + 1 :], 0.5)
    runs = [own("plain", **{**less, key: 8.0 if better == 7.0 else 0.1}), own("masked", **dict.fromkeys(less, 0.4))]
    runs[1][key] = better
    assert baseline.reference_arm(runs, ["plain", "masked"]) == "masked"
    assert f"The arm to beat is masked, of 2 plain ones that with {said}." == baseline.to_beat(
        runs, ["plain", "masked"]
    )


def test_a_single_seed_is_told_with_the_error_over_the_particles() -> None:
    nats = np.array([1.0, 5.0, 3.0, 7.0])
    gains = np.array([0.1, 0.3, 0.1, 0.3])
    runs = [
        own("plain", held_out_nats=nats.mean(), held_out_nats_each=nats.tolist()),
        own("cnn", held_out_nats=(nats + gains).mean(), held_out_nats_each=(nats + gains).tolist()),
    ]
    (told,) = report.verdicts(runs, ["plain", "cnn"])
    error = gains.std(ddof=1) / 2
    assert told == (
        "cnn is better than plain by held-out log-likelihood, nats: +0.200 (one seed, so that it may be luck; "
        f"standard error over the particles {error:.3f})."
    )


def test_what_the_digits_do_not_show_is_no_difference() -> None:
    runs = [own("plain", mean_model_fsc=0.5), own("cnn", mean_model_fsc=0.49999)]
    (told,) = report.verdicts(runs, ["plain", "cnn"])
    assert told.startswith("cnn is the same as plain by mean FSC with the model: +0.0000")


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        ((0.1, 0.2, 0.3), "cnn is better than plain by mean FSC with the model: +0.2000 ± 0.1000 (3 seeds)"),
        ((0.3, -0.1, 0.0), "cnn cannot be told from plain"),
        ((0.3, -0.1, 0.0), "(3 seeds, which differ by more than that)"),
    ],
)
def test_seeds_that_differ_by_more_are_told(gains: tuple[float, ...], told: str) -> None:
    runs = [own("plain", seed=seed, mean_model_fsc=0.5) for seed in (1, 2, 3)]
    runs += [own("cnn", seed=seed, mean_model_fsc=0.5 + gain) for seed, gain in enumerate(gains, 1)]
    (sentence,) = report.verdicts(runs, ["plain", "cnn"])
    assert told in sentence


def test_what_else_comes_from_outside_is_told_beside_what_the_arms_are_ranked_by() -> None:
    runs = [
        own("plain", held_out_nats_at_best_filter=5.0, mean_model_fsc=0.5, mean_reference_fsc=0.4),
        own("cnn", held_out_nats_at_best_filter=4.0, mean_model_fsc=0.6, mean_reference_fsc=0.45),
    ]
    (told,) = report.verdicts(runs, ["plain", "cnn"])
    assert told.startswith("cnn is worse than plain by held-out log-likelihood, filters fitted, nats: -1.000")
    assert told.endswith("; by mean FSC with the model +0.1000; by mean FSC with the reference map +0.0500.")


def test_means_of_curves_go_to_one_shell_in_all_runs() -> None:
    grid = {"box": 8, "pixel_size_angstrom": 3.0}
    short = own("plain", half_map_fsc=[1, 1, 0.5, 0.1, 0.0], model_fsc=[1, 1, 0.8, 0.6, 0.4], **grid)
    long = own("cnn", half_map_fsc=[1, 1, 0.5, 0.3, 0.1], model_fsc=[1, 1, 0.9, 0.7, 0.0], **grid)
    told = columns.with_common_means([short, long])
    # The longer reaches shell 3; what lies beyond counts in neither.
    assert [score["mean_model_fsc"] for score in told] == pytest.approx([2.4 / 3, 2.6 / 3])
    assert {score["means_up_to_angstrom"] for score in told} == {8.0}
