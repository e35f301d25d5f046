"""What makes a run the same run, or another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extrecon.compare.arms import Arm
from extrecon.compare.dataset import DataSet
from extrecon.compare.recipe import Recipe
from extrecon.compare.runs import Run, finished, finished_beside, plan_runs, require_relion
from extrecon.compare.subject import SCORE, Simulated
from extrecon.errors import InputError, UsageError

pytestmark = pytest.mark.usefixtures("fake_relion")
ARMS = [Arm("plain", "relion_external_reconstruct", calls_hook=False), Arm("x", "true", calls_hook=False)]


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    folder = tmp_path / "data"
    folder.mkdir()
    return DataSet(folder, 100.0, "C1", has_angles=True, has_ctf=False, sha256="0" * 64)


def runs(data: DataSet, seeds: tuple[int, ...] = (1,), recipe: Recipe | None = None, **more: Any) -> list[Run]:
    return plan_runs(data, more.get("arms", ARMS), seeds, recipe or Recipe(), data.folder / "compare")


def keep(run: Run, **more: Any) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    told = {
        "arm": run.arm.name,
        "seed": run.seed,
        "fingerprint": run.fingerprint,
        "provenance": run.provenance,
        **more,
    }
    (run.folder / SCORE).write_text(json.dumps(told))


def test_runs_come_seed_by_seed_each_in_its_folder(data: DataSet) -> None:
    planned = runs(data, (3, 1))
    assert [run.label for run in planned] == ["plain, seed 3", "x, seed 3", "plain, seed 1", "x, seed 1"]
    assert [run.folder.name for run in planned] == ["plain_3", "x_3", "plain_1", "x_1"]
    assert {run.provenance["relion"] for run in planned} == {"9.8.7"}


def test_all_that_decides_a_result_makes_another_run(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def first(of: DataSet = data, **more: Any) -> str:
        return runs(of, **more)[0].fingerprint

    found = [
        first(),
        first(seeds=(2,)),
        first(arms=ARMS[1:]),
        first(recipe=Recipe(ini_high_angstrom=25.0)),
        first(recipe=Recipe(more=("--no_parallel_disc_io",))),
        first(replace(data, sha256="1" * 64)),
        first(replace(data, diameter_angstrom=120.0)),
        first(replace(data, has_ctf=True)),
    ]
    monkeypatch.setenv("EXTRECON_APPLY", "always")
    found.append(first())
    (data.folder / "extrecon.toml").write_text('apply = "never"\n')
    found.append(first())
    assert len(set(found)) == len(found)


def test_how_calls_are_served_and_where_results_lie_do_not(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    before = runs(data)[0].fingerprint
    for name in ("EXTRECON_DAEMON", "EXTRECON_RUNTIME_DIR", "EXTRECON_IDLE_MINUTES"):
        monkeypatch.setenv(name, "7")
    elsewhere = plan_runs(data, ARMS, [1], Recipe(), data.folder / "elsewhere")
    assert elsewhere[0].fingerprint == before


def test_a_kept_score_is_known_again_and_another_is_told(data: DataSet) -> None:
    run, other = runs(data)[0], runs(data, recipe=Recipe(ini_high_angstrom=25.0))[0]
    assert finished(run) is None
    keep(run, mean_fsc=0.5)
    kept = finished(run)
    assert kept is not None
    assert kept["mean_fsc"] == 0.5
    with pytest.raises(UsageError, match=r"relion_command was --ini_high 20, is --ini_high 25\)\. Give --redo"):
        finished(other)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"provenance": 3, "fingerprint": ""}'])
def test_a_damaged_score_is_told(text: str, data: DataSet) -> None:
    run = runs(data)[0]
    keep(run)
    (run.folder / SCORE).write_text(text)
    with pytest.raises(InputError, match=r"is damaged .*; remove it to do the run again"):
        finished(run)


def test_what_others_left_counts_if_it_was_refined_alike(data: DataSet) -> None:
    plain, x = runs(data)
    keep(x)
    keep(runs(data, (2,))[0])
    coarse = runs(data, (5,), Recipe(healpix_order=5))[0]
    keep(coarse)
    damaged = runs(data, (6,))[0]
    keep(damaged)
    (damaged.folder / SCORE).write_text("{")
    found = finished_beside([plain], data.folder / "compare")
    assert sorted((kept["arm"], kept["seed"]) for kept in found) == [("plain", 2), ("x", 1)]


def test_what_cannot_be_run_is_refused(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    for seeds in ((), (1, 1)):
        with pytest.raises(UsageError, match="Seeds must differ"):
            runs(data, seeds)
    with pytest.raises(UsageError, match="no starting angles, but HEALPix order 4 is searched locally"):
        runs(replace(data, has_angles=False))
    assert runs(replace(data, has_angles=False), recipe=Recipe(healpix_order=3))
    with pytest.raises(UsageError, match="no-such-launcher is not on the PATH"):
        require_relion(Simulated(data, Recipe(launcher="no-such-launcher -x")))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="apt-get install relion"):
        require_relion(Simulated(data, Recipe()))
