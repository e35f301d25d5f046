"""The table of a refinement, as `extrecon watch` and `extrecon run` show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from extrecon.cli.progress import MOST_COLUMNS, table
from extrecon.relion.history import CallName, Iteration


def shown(classes: int) -> str:
    calls = [CallName(None, "class", number, has_halves=False) for number in range(1, classes + 1)]
    records: dict[CallName, Mapping[str, Any]] = {
        call: {"outcome": "plain", "seconds": {"write": 0.1 * call.number}} for call in calls
    }
    records[calls[-1]] = {"outcome": "fallback", "seconds": {"write": 2.0}}
    iteration = Iteration(2, "run", resolution_angstrom={None: 20.0}, records=records)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(table([iteration], "job"))
    return captured.get()


def test_few_classes_have_a_column_each() -> None:
    told = shown(2)
    assert "class001" in told
    assert "PLAIN (FAILED)" in told
    assert "0.1 / 2.0" in told


def test_many_classes_share_one() -> None:
    told = shown(MOST_COLUMNS + 44)
    assert f"{MOST_COLUMNS + 44} calls" in told
    assert f"{MOST_COLUMNS + 43} plain, 1 PLAIN (FAILED)" in told
    assert "0.1 to 4.9" in told
    assert max(map(len, told.splitlines())) < 80
