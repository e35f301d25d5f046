"""Every kind of call as RELION 5.0.1 makes it: what its files say, what is decided, the map, and the masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from extrecon.call.decision import decide
from extrecon.call.masks import MASK_MADE, find_body_mask
from extrecon.call.pipeline import run_job
from extrecon.call.request import Request
from extrecon.fourier.compute import cpu
from extrecon.maps import HalfMap, read_map
from extrecon.options import resolve
from extrecon.reconstruction import reconstruct_job
from extrecon.relion.job import read_job
from extrecon.relion.names import parse_job_name
from extrecon.relion.search import SearchState, read_search_state
from tests.relion.recorded import CALLS, KINDS, unpack

NAMES = {
    "global": "it003 half1 class001",
    "local": "it008 half2 class001",
    "joined": "it015 class001",
    "class": "it002 class002",
    "class2d": "it002 class001",
    "body": "it002 half1 body002",
    "helix": "it004 half1 class001",
    "subtomograms": "it003 half1 class001",
}
REASONS = {
    "global": (False, "global search: HEALPix order 2 is below 3"),
    "local": (True, "local search: HEALPix order 3 has reached 3"),
    "joined": (True, "joined iteration; local search: HEALPix order 5 has reached 3"),
    "class": (False, "classification: no half-map FSC tells signal from noise"),
    "class2d": (False, "the reference is two-dimensional"),
    "body": (True, "local search: HEALPix order 3 has reached 3"),
    "helix": (True, "local search: HEALPix order 2 has reached 2"),
    "subtomograms": (True, "local search: HEALPix order 2 has reached 2"),
}


def test_every_kind_is_there() -> None:
    assert set(KINDS) == set(NAMES) == set(REASONS)
    assert sum(path.stat().st_size for path in CALLS.rglob("*") if path.is_file()) < 300_000


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_call_says(kind: str, tmp_path: Path) -> None:
    job = read_job(unpack(kind, tmp_path).star, tmp_path)
    assert job.label == NAMES[kind]
    assert job.dimensions == (2 if kind == "class2d" else 3)
    assert job.pixel_size_angstrom == (5.4 if kind == "class2d" else 10.8)
    assert job.particle_diameter_angstrom == (140.0 if kind == "helix" else 160.0)
    assert (job.half_map_fsc is None) is kind.startswith("class")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_decided(kind: str, tmp_path: Path) -> None:
    """A multi-body refinement goes on from another folder's, whose files tell how the reference was low-passed."""
    star = unpack(kind, tmp_path).star
    if kind == "body":
        (tmp_path / "job").mkdir()
        shutil.copy(next((CALLS / "joined").glob("*_optimiser.star")), tmp_path / "job")
    name = parse_job_name(star)
    assert name is not None
    state = read_search_state(name, wait_seconds=0.0)
    decision = decide(read_job(star, tmp_path), state, "local-search")
    assert (decision.regularize, decision.reason) == REASONS[kind]
    assert decision.joined is (kind == "joined")
    assert state.iterates_gridding is False
    assert state.by_gradient is False


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_that_of_relions_own_program(kind: str, tmp_path: Path) -> None:
    recorded = unpack(kind, tmp_path)
    job = read_job(recorded.star, tmp_path)
    for gridding, theirs in ((True, recorded.gridded), (False, recorded.ungridded)):
        ours = reconstruct_job(job, iterate_gridding=gridding, compute=cpu(1))
        section = ours if ours.ndim == 2 else ours[len(ours) // 2]
        assert np.linalg.norm(section - theirs) < 2e-6 * np.linalg.norm(theirs)


def test_the_hook_reconstructs_as_this_relion_does(tmp_path: Path) -> None:
    recorded = unpack("local", tmp_path)
    for gridding, theirs in (("auto", recorded.ungridded), ("on", recorded.gridded)):
        options = resolve({"gridding": gridding, "apply": "never"}, [], {}, None, tmp_path)
        record = run_job(Request(recorded.star, options, tmp_path), lambda _: None)
        ours = read_map(recorded.star.with_suffix(".mrc")).density
        assert np.linalg.norm(ours[len(ours) // 2] - theirs) < 2e-6 * np.linalg.norm(theirs)
        assert record.gridding is (gridding == "on")


def test_a_bodys_mask_lies_on_the_body(tmp_path: Path) -> None:
    star = unpack("body", tmp_path).star
    job = read_job(star, tmp_path)
    assert job.name is not None
    half_map = HalfMap(reconstruct_job(job, iterate_gridding=False, compute=cpu(1)), 10.8)
    mask, origin = find_body_mask(job.name, half_map, SearchState(), warn=pytest.fail)
    as_it_lies = read_map(star.parent / "run_body002_mask.mrc").density
    assert "run_body002_mask.mrc (RELION's of this body" in origin

    def contrast(inside: np.ndarray) -> float:
        density = half_map.density
        return float(density[inside > 0.5].mean() - density[inside < 0.1].mean()) / float(density.std())

    assert contrast(mask) > 1.5
    assert contrast(mask) > 2 * contrast(as_it_lies)
    (star.parent / "run_body002_mask.mrc").unlink()
    assert find_body_mask(job.name, half_map, SearchState(), warn=pytest.fail)[1] == MASK_MADE
