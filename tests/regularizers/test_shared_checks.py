"""What extrecon offers authors of regularizers to test theirs with, on those that it ships."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from extrecon import testing
from extrecon.regularizer import load

SHIPPED = ("cnn", "fdr-mask", "identity", "localdeblur", "profile", "two-half")


@pytest.mark.parametrize("check", [*testing.CHECKS, testing.check_translations])
@pytest.mark.parametrize("name", SHIPPED)
def test_holds_to_what_all_do(name: str, check: Callable[..., None]) -> None:
    check(load(name))


@pytest.mark.parametrize("check", [testing.check_gray_scale, testing.check_rotations])
@pytest.mark.parametrize("name", ["identity", "localdeblur", "profile", "two-half"])
def test_knows_no_unit_and_no_axis(name: str, check: Callable[..., None]) -> None:
    check(load(name))


def test_the_confidence_mask_favours_no_axis_by_much() -> None:
    testing.check_rotations(load("fdr-mask"), tolerance=0.05)  # measured: 0.027
