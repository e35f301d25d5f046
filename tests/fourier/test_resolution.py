"""Where a curve falls: closed cases, and every rule as it was once written in the place that needed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.fourier.resolution import (
    GOLD_STANDARD,
    HALF,
    ONE_SEVENTH,
    cutoff_shell,
    first_shell_under,
    last_shell_above,
    resolution_of_first_under,
    resolution_of_last_above,
)
from extrecon.maps import HalfMap
from extrecon.regularizer import Context
from extrecon_regularizers.cnn.standardise import resolution
from extrecon_regularizers.localdeblur.method import automatic_worst
from extrecon_regularizers.profile.solvent import finest_above_noise, finest_from_fsc

Curve = npt.NDArray[np.float64]
PIXEL = 3.1


def curves(box: int) -> Iterator[Curve]:
    """Yield all above, all under, under at the ends alone, between the two thresholds, and a thousand at random."""
    shells = box // 2 + 1
    yield from (np.ones(shells), np.zeros(shells), -np.ones(shells), np.full(shells, 0.1429))
    yield from (np.eye(1, shells)[0], 1.0 - np.eye(1, shells)[0], np.append(np.ones(shells - 1), 0.0))
    yield from (np.full(shells, ONE_SEVENTH), np.full(shells, GOLD_STANDARD))
    rng = np.random.default_rng(box)
    for number in range(1000):
        falling = 1.3 - np.arange(shells) / shells * rng.uniform(0.0, 4.0)
        yield np.clip(falling + rng.uniform(0.0, 0.5) * rng.standard_normal(shells), -1.0, 1.0).round(number % 5)


@pytest.mark.parametrize(("threshold", "under"), [(0.5, 2), (0.3, 3), (0.05, 6)])
def test_the_first_fall_counts_and_not_the_last(threshold: float, under: int) -> None:
    curve = np.array([0.0, 0.9, 0.4, 0.2, 0.1, 0.8])
    assert first_shell_under(curve, threshold) == under
    assert last_shell_above(curve, threshold) == under - 1


def test_the_resolution_is_that_of_the_last_shell_above() -> None:
    curve = np.array([1.0, 1.0, 0.9, 0.5, 0.1, 0.3])
    assert resolution_of_last_above(curve, 2.0) == pytest.approx(10 * 2.0 / 3)
    assert resolution_of_first_under(curve, 10, 2.0, GOLD_STANDARD) == pytest.approx(10 * 2.0 / 4)
    assert resolution_of_last_above(np.ones(6), 2.0) == pytest.approx(4.0)
    assert resolution_of_last_above(np.zeros(6), 2.0) == float("inf")


def test_a_shell_between_the_two_roundings_tells_them_apart() -> None:
    curve = np.array([1.0, 0.5, 0.1429, 0.0])
    assert last_shell_above(curve, ONE_SEVENTH) == 2
    assert last_shell_above(curve, GOLD_STANDARD) == 1


def test_what_is_unknown_in_a_shell_is_no_fall() -> None:
    """A cone's FSC is not a number in shells where it has no points."""
    assert first_shell_under(np.array([1.0, np.nan, 0.9, 0.1]), GOLD_STANDARD) == 3


def _cutoff(fsc: Curve) -> int:
    under = np.flatnonzero(fsc[1:] < 1 / 7)
    return int(under[0]) if under.size else fsc.size - 1


def _postprocess(fsc: Curve, threshold: float) -> float:
    below = np.flatnonzero(fsc[1:] < threshold)
    last = int(below[0]) if below.size else len(fsc) - 1
    return float("inf") if last == 0 else 2 * (len(fsc) - 1) * PIXEL / last


def _study(fsc: Curve, box: int) -> float:
    under = np.flatnonzero(fsc[1:] < 1 / 7)
    return box * PIXEL / (int(under[0]) + 1 if under.size else box // 2)


def _appended(fsc: Curve) -> int:
    whole = fsc.copy()
    whole[0] = 1.0
    return int(np.flatnonzero(np.append(whole, 0) < 1 / 7)[0])


def _worst(fsc: Curve, box: int) -> float:
    below = np.flatnonzero(fsc[1:] < 0.143)
    shell = int(below[0]) + 1 if below.size else len(fsc) - 1
    worst = max(20.0, 10.0 * PIXEL, 3.0 * box * PIXEL / shell)
    return max(min(worst, box * PIXEL / 4), 4.0 * PIXEL)


def _finest(fsc: Curve, box: int) -> float:
    first = _cutoff(fsc) + 1
    return 2.0 * PIXEL if first == len(fsc) else box * PIXEL / max(first, 2)


def _chance(fsc: Curve) -> Curve:
    return np.maximum(0.02, 1.0 / np.sqrt(np.pi * np.maximum(np.arange(fsc.size), 1) ** 2))


def _agreed(fsc: Curve) -> int:
    under = np.flatnonzero(fsc[1:] < _chance(fsc)[1:])
    return int(under[0]) if under.size else fsc.size - 1


def _above_noise(fsc: Curve) -> float:
    return finest_above_noise(fsc[None].astype(np.float32), np.full(fsc.size, 0.3), 30.0)


def _buried(fsc: Curve) -> float:
    buried = np.flatnonzero(fsc.astype(np.float32).astype(np.float64)[1:] ** 2 < 1.25 * 0.3**2)
    return 30.0 / max(int(buried[0]) if buried.size else fsc.size - 1, 3)


@cache
def _map(box: int) -> HalfMap:
    return HalfMap(np.zeros((box,) * 3, np.float32), PIXEL)


RULES: dict[str, tuple[Callable[[Curve, int], float], Callable[[Curve, int], float]]] = {
    "the hook's cut-off": (lambda f, _: cutoff_shell(f), lambda f, _: _cutoff(f)),
    "validate": (lambda f, _: resolution_of_last_above(f, PIXEL), lambda f, _: _postprocess(f, 0.143)),
    "validate at a half": (
        lambda f, _: resolution_of_last_above(f, PIXEL, HALF),
        lambda f, _: _postprocess(f, 0.5),
    ),
    "randomised from": (
        lambda f, _: first_shell_under(f, 0.8),
        lambda f, _: int(np.append(np.flatnonzero(f[1:] < 0.8), len(f) - 1)[0]) + 1,
    ),
    "MonoRes": (lambda f, n: automatic_worst(_map(n), Context({}, half_map_fsc=f)), _worst),
    "profile": (lambda f, n: finest_from_fsc(f, _map(n)), _finest),
    "profile's solvent": (lambda f, _: _above_noise(f), lambda f, _: _buried(f)),
    "cnn": (lambda f, n: resolution(f, n, PIXEL), lambda f, n: n * PIXEL / min(_cutoff(f) + 1, len(f) - 1)),
    "the halves' agreement": (lambda f, _: last_shell_above(f, _chance(f)), lambda f, _: _agreed(f)),
    "studies": (lambda f, n: resolution_of_first_under(f, n, PIXEL, ONE_SEVENTH), _study),
    "study of profiles": (lambda f, _: first_shell_under(f, ONE_SEVENTH), lambda f, _: _appended(f)),
}


@pytest.mark.parametrize("box", [48, 65, 128])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_what_it_was_to_the_last_bit(rule: str, box: int) -> None:
    now, before = RULES[rule]
    cases = list(curves(box))
    found = [now(curve, box) for curve in cases]
    assert found == [before(curve, box) for curve in cases]
    assert len(set(found)) > 2


def test_one_seventh_is_where_noise_has_six_times_the_power_of_signal() -> None:
    assert 1 / ONE_SEVENTH - 1 == 6.0
