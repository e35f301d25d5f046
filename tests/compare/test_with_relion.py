"""Three arms on the real RELION, from one global search: the identity refines as RELION's own program does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from extrecon.maps.mrc import read_map
from extrecon.regularizer import no_progress
from extrecon.relion.star import read_star
from extrecon.simulate.experiment import Plan, simulate
from tests.compare.conftest import TRUTH

PROGRAM = str(Path(sys.executable).with_name("extrecon"))
ARMS = ("--arm", "plain", "--arm", "identity", "--arm", "masked=plain", "--make-mask", "masked", "--seeds", "1")
RECIPE = """# as a user keeps it
--o job/run --auto_refine --split_random_halves --i particles.star --ref reference.mrc --ini_high 40 --pool 30
--pad 1 --particle_diameter 130 --flatten_solvent --zero_mask --oversampling 1 --healpix_order 1
--auto_local_healpix_order 2 --offset_range 2 --offset_step 2 --sym C1 --low_resol_join_halves 40 --j 1
--dont_combine_weights_via_disc
"""

pytestmark = [pytest.mark.relion, pytest.mark.usefixtures("relion_programs")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Particles clear enough for the half-maps to agree well beyond 40 Å, where regularizers begin."""
    simulate(Plan(TRUTH, particles=80, signal_to_noise=2.0), tmp_path, no_progress)
    (tmp_path / "refine.txt").write_text(RECIPE)
    return tmp_path


def test_arms_go_on_from_one_search_and_the_identity_is_scored_as_plain_is(folder: Path) -> None:
    words = [PROGRAM, "compare", "-o", "out", *ARMS, "--recipe", "refine.txt", "--hold-out", "0.1"]
    words += ["--reference-map", "truth.mrc"]
    ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=500)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    out = folder / "out"
    found = json.loads((out / "comparison.json").read_text())
    plain, identity = found["arms"]["plain"], found["arms"]["identity"]
    # The two programs' maps differ in the seventh digit, which may end RELION's search an iteration or two apart.
    for key in ("mean_reference_fsc", "held_out_nats"):
        assert identity[key]["mean"] == pytest.approx(plain[key]["mean"], rel=0.06)
    assert abs(identity["iterations"]["mean"] - plain["iterations"]["mean"]) <= 4
    assert identity["regularized"]["mean"] > 0
    assert plain["regularized"]["mean"] == 0
    assert plain["mean_reference_fsc"]["mean"] > 0.5
    assert plain["held_out_nats"]["mean"] > 10
    assert plain["cpu_seconds"]["mean"] > 1
    assert plain["peak_memory_mb"]["mean"] > 10
    assert not [path for path in (out / "identity_1").glob("*.mrc") if "_it" in path.name]
    goes_on_as_asked(out)


def goes_on_as_asked(out: Path) -> None:
    """Hold RELION's own files against what the arms were to have: the start, and the mask of one."""
    begun = int(json.loads((out / "start_1" / "start.json").read_text())["iteration"])
    assert begun >= 2
    corrected = "Calculating solvent-corrected gold-standard FSC"
    for arm in ("plain", "masked"):
        told = optimiser(out / f"{arm}_1", begun + 1)
        assert (told["rlnSolventMaskName"] != "None") == (arm == "masked")
        assert told["rlnDoSolventFscCorrection"] == str(int(arm == "masked"))
        assert (corrected in (out / f"{arm}_1" / "log.txt").read_text(errors="replace")) == (arm == "masked")
    assert not json.loads((out / "masked_1" / "score.json").read_text())["options_unknown_to_relion"]
    assert not list((out / "plain_1").glob(f"run*_it{begun - 1:03d}_*"))
    assert read_map(out / "made_mask.mrc").density.max() == 1.0


def optimiser(job: Path, iteration: int) -> dict[str, Any]:
    (path,) = job.glob(f"run*_it{iteration:03d}_optimiser.star")
    return dict(read_star(path, first_block_only=True).values("optimiser_general"))
