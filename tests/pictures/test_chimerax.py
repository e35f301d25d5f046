"""The script for ChimeraX, read as ChimeraX's documentation says that it reads one. It was not run there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from extrecon.maps.mrc import write_volume
from extrecon.pictures.chimerax import Opened, before_and_after, maps_to_open, write_script
from extrecon.pictures.shown_maps import look_at, looks_at, mask_of, pairs_of
from extrecon.relion.account import account_of
from extrecon.relion.history import RefinementFolder
from tests.report_job import change_record, write_refinement

# A quoted word ends at its mark where white space or the line's end follows.
WORD = re.compile(r"""\s*(?:"(.*?)"(?=\s|$)|'(.*?)'(?=\s|$)|(\S+))""")


def words(line: str) -> list[str]:
    return [next(part for part in match.groups() if part is not None) for match in WORD.finditer(line)]


def commands(script: Path) -> list[list[str]]:
    return [words(line) for line in script.read_text().splitlines() if not line.startswith("#")]


def test_all_maps_are_opened_from_beside_the_script(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path / "job")
    write_volume(tmp_path / "a mask.mrc", np.ones((32, 32, 32), np.float32), 5.4)
    change_record(folder, 11, 1, mask="a mask.mrc (RELION's solvent mask)")
    account = account_of(RefinementFolder(folder))
    pairs, _ = pairs_of(account)
    looks, problems = looks_at(pairs, account, lambda _: None)
    mask = mask_of(pairs, folder)
    assert mask == tmp_path / "a mask.mrc"
    script = folder / "maps.cxc"
    assert write_script(script, maps_to_open(pairs, looks, mask), ["one\ntwo"]) == problems == []
    found = commands(script)
    assert {line[0] for line in found} == {"open", "volume", "hide", "set", "lighting", "view"}
    opened = [line for line in found if line[0] == "open"]
    assert [(folder / line[1]).resolve().is_file() for line in opened] == [True] * 7
    assert not any(Path(line[1]).is_absolute() for line in opened)
    assert [line[3] for line in opened[:2]] == ["it011 half1, plain", "it011 half1, regularized"]
    volumes = [line for line in found if line[0] == "volume"]
    assert [line[1] for line in volumes] == [f"#{number}" for number in range(1, 8)]
    assert all("level" in line for line in volumes)
    assert [line[1] for line in found if line[0] == "hide"] == ["#3", "#4", "#5", "#6", "#7"]


def test_a_level_encloses_the_share_that_was_asked_for(tmp_path: Path) -> None:
    density = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    write_volume(tmp_path / "map.mrc", density, 2.0)
    level = look_at(tmp_path / "map.mrc", 0.05).level
    assert level is not None
    assert np.mean(density > level) == pytest.approx(0.05, abs=1e-3)
    assert look_at(tmp_path / "map.mrc", None).level is None


@pytest.mark.parametrize(
    "name", ["plain.mrc", "with space.mrc", 'a "b" c.mrc', "it's.mrc", "a;b#c.mrc", "$HOME.mrc", "Ångström.mrc"]
)
def test_names_are_quoted(tmp_path: Path, name: str) -> None:
    script = tmp_path / "maps.cxc"
    assert write_script(script, [Opened(tmp_path / name, "map", None, "#ffffff")], []) == []
    assert words(script.read_text().splitlines()[0]) == ["open", name, "name", "map"]


@pytest.mark.parametrize("name", ["a\nb.mrc", "a\udcff.mrc", "a\" b' c.mrc", "~a.mrc"])
def test_a_name_that_cannot_be_told_is_left_out_and_the_numbers_hold(tmp_path: Path, name: str) -> None:
    script = tmp_path / "maps.cxc"
    other = Opened(tmp_path / "good.mrc", "map", 1.5, "#ffffff")
    problems = write_script(script, [Opened(tmp_path / name, "odd", None, "#ffffff"), other], [])
    assert len(problems) == 1
    assert commands(script)[:2] == [
        ["open", "good.mrc", "name", "map"],
        ["volume", "#1", "style", "surface", "step", "1", "color", "#ffffff", "transparency", "0", "level", "1.5"],
    ]


def test_standalone_results_open_with_what_they_were_made_of(tmp_path: Path) -> None:
    pairs = [(tmp_path / f"half{half}.mrc", tmp_path / "out" / f"half{half}_cnn.mrc") for half in (1, 2)]
    (tmp_path / "out").mkdir()
    write_script(tmp_path / "out" / "maps.cxc", before_and_after(pairs), [])
    names = [line[1] for line in commands(tmp_path / "out" / "maps.cxc") if line[0] == "open"]
    assert names == ["../half1.mrc", "half1_cnn.mrc", "../half2.mrc", "half2_cnn.mrc"]
