"""Three arms on the real RELION: the identity refines as RELION's own program does, and a mask helps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from extrecon.regularizer import no_progress
from extrecon.simulate.experiment import Plan, simulate
from tests.compare.conftest import TRUTH

PROGRAM = str(Path(sys.executable).with_name("extrecon"))
ARMS = ("--arm", "plain", "--arm", "identity", "--arm", "masked=plain", "--make-mask", "masked", "--seeds", "1")
RECIPE = ("--healpix-order", "3", "--local-order", "3")

pytestmark = [pytest.mark.relion, pytest.mark.usefixtures("relion_programs")]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Particles clear enough for the half-maps to agree beyond the first reference, where regularizers begin."""
    folder = tmp_path / "clear"
    folder.mkdir()
    simulate(Plan(TRUTH, particles=100, signal_to_noise=2.0, perturb_degrees=3.0), folder, no_progress)
    return folder


def test_the_identity_is_scored_as_plain_is(data: Path) -> None:
    ran = subprocess.run(
        [PROGRAM, "compare", str(data), *ARMS, *RECIPE], capture_output=True, text=True, check=False, timeout=500
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((data / "compare" / "comparison.json").read_text())
    plain, identity = found["arms"]["plain"], found["arms"]["identity"]
    # The two programs' maps differ in the seventh digit, which leaves the orientations found as they are.
    for key in ("median_error_degrees", "mean_fsc", "iterations"):
        assert identity[key]["mean"] == pytest.approx(plain[key]["mean"], rel=0.02)
    assert identity["regularized"]["mean"] > 0
    assert plain["regularized"]["mean"] == 0
    assert plain["mean_fsc"]["mean"] > 0.5
    # The start is 4.6° off (median of three Gaussian angles of 3°); chance would be over 100°.
    assert plain["median_error_degrees"]["mean"] < 15
    assert plain["cpu_seconds"]["mean"] > 1
    assert plain["peak_memory_mb"]["mean"] > 10
    assert not (data / "compare" / "identity_1" / "run_it001_half1_class001.mrc").exists()
    corrected = "Calculating solvent-corrected gold-standard FSC"
    logs = {
        arm: (data / "compare" / f"{arm}_1" / "log.txt").read_text(errors="replace") for arm in ("plain", "masked")
    }
    assert corrected in logs["masked"]
    assert corrected not in logs["plain"]
    assert "is not a valid RELION argument" not in logs["masked"]
    # With so much signal 3.4° become 1.9°; a mask that cut the particle would make it worse.
    assert found["arms"]["masked"]["median_error_degrees"]["mean"] < plain["median_error_degrees"]["mean"]
    assert found["paired_differences_to"] == "masked"
