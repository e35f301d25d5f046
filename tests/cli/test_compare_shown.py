"""The table of a comparison on a narrow terminal."""

from __future__ import annotations

import pytest

from extrecon.cli.compare_shown import _fitting, _show_table
from extrecon.cli.console import console


@pytest.mark.parametrize("total", [20, 80, 200])
def test_every_column_is_shown_once_and_in_order(total: int) -> None:
    widths = [34, 10, 18, 6, 9, 25, 7]
    places = list(_fitting(widths, total))
    assert [index for place in places for index in place] == list(range(6))
    for place in places:
        used = widths[0] + sum(2 + widths[1 + index] for index in place)
        assert used <= total or len(place) == 1


def test_seven_arms_are_readable_at_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 80)
    arms = [f"arm-{index}" for index in range(7)]
    _show_table(["arm", "half-map resolution, corrected, Å"], [[arm, "7.55 ± 0.12"] for arm in arms])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("7.55 ± 0.12") for line in lines) == 7  # none is cut or folded
    assert all(any(arm in line for line in lines) for arm in arms)
