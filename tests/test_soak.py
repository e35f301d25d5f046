"""A share of the soak that ``scripts/soak_faults`` runs for as long as one likes."""

from __future__ import annotations

import pytest

from tests.soak.campaign import run_campaign


@pytest.mark.timeout(400)
def test_a_minute_of_random_faults_breaks_no_rule() -> None:
    tally = run_campaign(count=10_000, seed=7, seconds=60)
    assert tally.violations == []
    assert tally.cases > 10
    assert {outcome for _, outcome in tally.outcomes} >= {"fallback", "no map", "plain", "regularized"}
