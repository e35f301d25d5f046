"""Checks for a regularizer's own tests, and half-maps to run it on.

    import pytest
    from extrecon import testing
    from my_package import MyRegularizer

    @pytest.mark.parametrize("check", testing.CHECKS)
    def test_keeps_what_extrecon_asks_of_all(check):
        check(MyRegularizer())

Each check raises `CheckError`, an AssertionError, with a sentence. Nothing here needs pytest.
"""

from extrecon.testing.checks import (
    CHECKS,
    CheckError,
    check_gray_scale,
    check_halves_stay_independent,
    check_is_linear,
    check_keeps_its_input,
    check_noise_gains_no_agreement,
    check_nothing_shifts,
    check_repeats,
    check_result,
    check_rotations,
    check_settings,
    check_translations,
    check_works_in_refinement,
    run,
)
from extrecon.testing.examples import HalfMaps, example_half_maps, noise_half_maps

__all__ = [
    "CHECKS",
    "CheckError",
    "HalfMaps",
    "check_gray_scale",
    "check_halves_stay_independent",
    "check_is_linear",
    "check_keeps_its_input",
    "check_noise_gains_no_agreement",
    "check_nothing_shifts",
    "check_repeats",
    "check_result",
    "check_rotations",
    "check_settings",
    "check_translations",
    "check_works_in_refinement",
    "example_half_maps",
    "noise_half_maps",
    "run",
]
