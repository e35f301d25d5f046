"""Regularizers one after the other, and others in global search than in local."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage

import extrecon
from extrecon.call.choice import check_choice, choose
from extrecon.call.pipeline import run_job
from extrecon.chain import load_chain
from extrecon.errors import RegularizerError, UsageError
from extrecon.maps import HalfMap, read_map
from extrecon.options import Options, resolve
from extrecon.options.phases import Phases, read_phases, settings_of_each
from extrecon.record import Record
from extrecon.regularizer import Context
from tests.jobs import BOX, PIXEL_SIZE, JobFiles, blobs, noisy_blobs, write_job

pytestmark = pytest.mark.usefixtures("plugins")
FSC = np.linspace(1.0, 0.5, BOX // 2 + 1)


def options(folder: Path, regularizer: str, *set_: str, **flags: Any) -> Options:
    return resolve({"gate_wait": 0.0, "regularizer": regularizer, **flags}, set_, {}, None, folder)


def run(files: JobFiles, regularizer: str, *set_: str, **flags: Any) -> Record:
    return run_job(files.request(options(files.folder, regularizer, *set_, **flags)), lambda _: None)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cnn", Phases("", "cnn")),
        ("two-half+cnn", Phases("", "two-half+cnn")),
        ("local=cnn", Phases("", "cnn")),
        ("global=identity", Phases("identity", "")),
        ("local=a+b,global=c", Phases("c", "a+b")),
    ],
)
def test_what_may_be_asked_for(text: str, wanted: Phases) -> None:
    assert read_phases(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "a+", "+a", "a++b", "global=", "local=a,local=b", "both=a", "global=a,b", "=a", "local=a,"]
)
def test_what_may_not(text: str) -> None:
    with pytest.raises(UsageError, match="--regularizer"):
        read_phases(text)


def test_each_regularizer_gets_the_settings_that_bear_its_name() -> None:
    given = {"a.x": 1, "b.x": 2, "blend": "half"}
    assert settings_of_each("a", {"x": 1}) == [("a", {"x": 1})]
    assert settings_of_each("global=a,local=b+a", given) == [("a", {"x": 1}), ("b", {"x": 2})]


def test_a_chain_is_what_its_parts_are_one_after_the_other() -> None:
    chain, half_map = choose("smooth+smooth", {}), HalfMap(noisy_blobs(), PIXEL_SIZE)
    found = chain.regularizer.regularize(half_map, Context(chain.settings)).density
    wanted = scipy.ndimage.gaussian_filter(half_map.density, 0.7 * np.sqrt(2), mode="wrap")
    scale = np.vdot(found, wanted) / np.vdot(found, found)
    assert np.linalg.norm(scale * found - wanted) < 0.01 * np.linalg.norm(wanted)


def test_the_second_part_works_on_the_half_maps_scale() -> None:
    chain = choose("smooth+identity", {})
    given = noisy_blobs()
    found = chain.regularizer.regularize(HalfMap(given, PIXEL_SIZE), Context(chain.settings)).density
    assert np.vdot(found, given) == pytest.approx(np.vdot(found, found), rel=1e-5)


def test_facts_maps_and_warnings_tell_whose_they_are() -> None:
    found = extrecon.regularize(noisy_blobs(), "smooth+identity", pixel_size=PIXEL_SIZE, fsc=FSC)
    assert found.facts["smooth"] == {"told": 1}
    assert "smooth_removed" in found.maps
    assert "smooth: smoothed" in found.warnings


def test_parameters_are_named_after_their_regularizers() -> None:
    chain = choose("smooth+smooth", {"smooth.sigma": 1.5, "blend": "half"})
    assert chain.described()["settings"] == {"smooth.sigma": 1.5}
    assert chain.wishes.blend == "half"
    with pytest.raises(UsageError, match=r"has no parameter 'sigma'. It has: smooth.sigma"):
        choose("smooth+identity", {"sigma": 1.5})


def test_a_chain_declares_what_its_parts_need() -> None:
    assert load_chain("both+smooth").needs_both_halves
    with pytest.raises(UsageError, match="both compares two half-maps as RELION made them, so it must come first"):
        load_chain("smooth+both")
    assert load_chain("identity+masked").uses_mask
    assert not load_chain("identity+smooth").uses_mask
    assert load_chain("smooth+cnn").treatment_inside_refinement == load_chain("cnn").treatment_inside_refinement
    with pytest.raises(RegularizerError, match="'no-such' is not installed"):
        load_chain("smooth+no-such")


def test_a_chain_inside_refinement(tmp_path: Path) -> None:
    files = write_job(tmp_path, density=noisy_blobs())
    record = run(files, "smooth+identity", "smooth.sigma=1.2")
    assert record.outcome == "regularized", record.reason
    told = json.loads(files.record.read_text())
    assert told["regularizer"]["name"] == "smooth+identity"
    assert told["regularizer"]["settings"] == {"smooth.sigma": 1.2}
    assert not np.array_equal(read_map(files.result).density, read_map(files.beside("_plain.mrc")).density)


def test_a_part_that_fails_means_the_plain_map(tmp_path: Path) -> None:
    record = run(write_job(tmp_path), "smooth+raises")
    assert record.outcome == "fallback"
    assert "smooth+raises failed: this plugin cannot" in record.reason


@pytest.mark.parametrize(
    ("regularizer", "order", "outcome", "name"),
    [
        ("global=smooth,local=identity", 2, "regularized", "smooth"),
        ("global=smooth,local=identity", 4, "regularized", "identity"),
        ("local=smooth", 2, "plain", "smooth"),
        ("global=smooth", 2, "regularized", "smooth"),
        ("global=smooth", 4, "plain", "smooth"),
        ("smooth", 2, "plain", "smooth"),
    ],
)
def test_each_search_has_its_own(regularizer: str, order: int, outcome: str, name: str, tmp_path: Path) -> None:
    record = run(write_job(tmp_path, order=order), regularizer)
    assert record.outcome == outcome, record.reason
    assert record.regularizer is not None
    assert record.regularizer["name"] == name
    if regularizer == "global=smooth" and order == 4:
        assert record.reason == "no regularizer was given for local search"


def test_apply_always_means_both_searches(tmp_path: Path) -> None:
    record = run(write_job(tmp_path / "one", order=2), "smooth", apply="always")
    assert record.outcome == "regularized"
    record = run(write_job(tmp_path / "two", order=4), "global=smooth", apply="always")
    assert record.outcome == "regularized"


def test_in_global_search_what_halves_share_by_the_reference_alone_stays_plain(tmp_path: Path) -> None:
    fsc = np.where(np.arange(BOX // 2 + 1) < 4, 1.0, 0.0)
    files = write_job(tmp_path, order=2, fsc=fsc, density=blobs())
    optimiser = files.previous("optimiser")
    box_angstrom = BOX * PIXEL_SIZE
    optimiser.write_text(optimiser.read_text().replace("# --o run", f"# --o run --ini_high {box_angstrom / 3:.1f}"))
    record = run(files, "global=smooth,local=smooth")
    assert record.outcome == "plain"
    assert "agree no further than the starting reference went" in record.reason


def test_settings_of_the_other_search_are_no_mistake_and_of_none_are(tmp_path: Path) -> None:
    files = write_job(tmp_path, order=2)
    record = run(files, "global=smooth,local=identity", "smooth.sigma=0.5")
    assert record.regularizer is not None
    assert record.regularizer["settings"] == {"sigma": 0.5}
    with pytest.raises(UsageError, match="no regularizer here is called 'cnn'"):
        check_choice(options(tmp_path, "global=smooth,local=identity", "cnn.tile=3"), tmp_path)
    with pytest.raises(RegularizerError, match="'no-such' is not installed"):
        check_choice(options(tmp_path, "global=smooth,local=no-such"), tmp_path)
