from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from extrecon.pictures.refinement import draw_refinement
from extrecon.relion.history import CallName, RefinementFolder, read_values
from extrecon.relion.star import read_star
from tests.jobs import write_previous


@pytest.mark.parametrize("version", ["3.1.3", "5.0.1"])
def test_quick_reading_agrees_with_the_strict_reader(version: str, shared_fixtures: Path) -> None:
    paths = [
        path
        for path in sorted((shared_fixtures / f"relion-{version}").rglob("*.star"))
        if path.name.endswith(("_sampling.star", "_optimiser.star", "_model.star"))
    ]
    assert paths
    for path in paths:
        block = path.name.removesuffix(".star").rpartition("_")[2] + "_general"
        strict = read_star(path, first_block_only=True).values(block)
        quick = read_values(path)
        assert quick.keys() == {key for key, value in strict.items() if value != ""}
        for key, text in quick.items():
            assert text == str(strict[key]) or float(text) == pytest.approx(float(strict[key]))


def test_a_continued_run_is_one_refinement(tmp_path: Path) -> None:
    write_previous(tmp_path, "run", order=2)
    for path in sorted(tmp_path.glob("run_it004_*")):
        continued = path.with_name(path.name.replace("run_it004", "run_ct4_it005"))
        continued.write_text(path.read_text().replace("_rlnHealpixOrder   2", "_rlnHealpixOrder   3"))
    write_previous(tmp_path, "other", order=7)
    found = RefinementFolder(tmp_path, "run").iterations()
    assert [(i.number, i.root, i.healpix_order, i.local_healpix_order) for i in found] == [
        (4, "run", 2, 4),
        (5, "run_ct4", 3, 4),
    ]


def test_changed_files_are_read_again_and_damaged_ones_left_out(tmp_path: Path) -> None:
    write_previous(tmp_path, "run", order=2)
    folder = RefinementFolder(tmp_path, "run")
    assert folder.iterations()[0].healpix_order == 2
    sampling = tmp_path / "run_it004_sampling.star"
    sampling.write_text(sampling.read_text().replace("_rlnHealpixOrder   2", "_rlnHealpixOrder   3 "))
    assert folder.iterations()[0].healpix_order == 3
    sampling.write_bytes(b"\xff\xfe\x00")
    assert folder.iterations()[0].healpix_order is None
    record = tmp_path / "run_it004_half1_class001_external_reconstruct_extrecon.json"
    record.write_text('{"outcome": ')
    assert folder.iterations()[0].records == {}
    record.write_text(json.dumps({"outcome": "plain"}))
    assert folder.iterations()[0].records == {CallName(1, "class", 1): {"outcome": "plain"}}


def test_a_change_of_records_is_noticed(tmp_path: Path) -> None:
    folder = RefinementFolder(tmp_path, "run")
    assert folder.records() == {}
    record = tmp_path / "run_it004_half1_class001_external_reconstruct_extrecon.json"
    record.write_text("{}")
    first = folder.records()
    os.utime(record, ns=(1, 1))
    assert first.keys() == folder.records().keys()
    assert first != folder.records()
    assert RefinementFolder(tmp_path, "another").records() == {}


def test_a_picture_is_drawn_of_whatever_is_known(tmp_path: Path) -> None:
    write_previous(tmp_path, "run", order=2)
    for name, found in (("some", RefinementFolder(tmp_path, "run").iterations()), ("nothing", [])):
        path = tmp_path / f"{name}.png"
        draw_refinement(path, found, "title")
        assert path.read_bytes().startswith(b"\x89PNG")
