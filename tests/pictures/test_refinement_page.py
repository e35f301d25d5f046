"""The page of a refinement: all that its records tell is on it, and it stands whatever they hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from extrecon.errors import OutputError
from extrecon.pictures.refinement_page import Report, write_report
from extrecon.relion.account import account_of
from extrecon.relion.history import RefinementFolder
from tests.pictures.pages import Page
from tests.report_job import change_record, unfinish, write_refinement


def report(folder: Path, name: str = "page.html") -> tuple[Page, Report]:
    found = write_report(folder / name, account_of(RefinementFolder(folder)))
    return Page(found.page), found


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*_extrecon.json"))]


def test_a_finished_refinement_is_told_whole(tmp_path: Path) -> None:
    page, found = report(write_refinement(tmp_path / "job"))
    for expected in (
        "refinement of two half sets",
        "RELION 3.1.3",
        "--auto_refine --split_random_halves",
        "regularized with cnn",
        "local search: HEALPix order 5 has reached 3",
        "joined iteration",
        "final resolution",
        "In iterations 9–11, once orientations were searched locally (HEALPix order 3 or finer)",
        "Scheres SHW (2012)",
        "set.blend half flag",
        "averaged with the half-map shell by shell",
        "blended with the half-map half of each",
        "extrecon_maps.cxc opens these maps in ChimeraX",
    ):
        assert expected in page.text, expected
    weights = next(record["facts"]["weights_sha256"] for record in records(tmp_path / "job") if record["facts"])
    assert weights in page.text
    assert page.tags.count("svg") == 4
    assert page.tags.count("img") == 3 * 2 * 3
    assert "not finished" not in page.text
    assert list(found.notes) == []
    for record in records(tmp_path / "job"):
        assert record["reason"] in page.text
        assert f"{record['peak_memory_megabytes']:.5g}" in page.text


def test_every_warning_and_failure_is_on_the_page(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path)
    told = "<b>odd</b> & \"quoted\" 'mask' $x_1$"
    change_record(folder, 10, 1, warnings=[told, "another"])
    change_record(folder, 11, 2, warnings=["another"])
    error = {"text": "no", "traceback": "Traceback: <plugin> said no"}
    reason = "local search; but cnn failed: no"
    change_record(folder, 11, 1, outcome="fallback", reason=reason, error=error)
    page, _ = report(folder)
    assert told in page.text
    assert "another (2 calls)" in page.text
    assert f"it011 half1: WARNING: PLAIN MAP RETURNED ({reason})" in page.text
    assert "1 calls in which the regularizer failed" in page.text
    assert "In 1 of 6 calls the regularizer failed" in page.text
    assert error["traceback"] in page.text
    assert "<b>odd" not in page.html


def test_an_unfinished_refinement_says_so(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path)
    unfinish(folder, 10)
    (folder / "RELION_JOB_EXIT_ABORTED").touch()
    page, _ = report(folder)
    assert "This refinement is not finished" in page.text
    assert "RELION's window says that the job was aborted" in page.text
    assert "final resolution" not in page.text
    assert "[The refinement has not come to its end.]" in page.text


@pytest.mark.parametrize("is_called", [True, False])
def test_a_refinement_without_the_hook_has_its_page(tmp_path: Path, is_called: bool) -> None:
    folder = write_refinement(tmp_path, maps=False)
    for path in folder.glob("*_external_reconstruct*"):
        if not is_called or path.suffix == ".json":
            path.unlink()
    page, _ = report(folder)
    if is_called:
        assert "RELION made external calls, but extrecon-hook served none of them" in page.text
        assert "NOT EXTRECON'S MAP" in page.text
    else:
        assert "RELION made no external call" in page.text
    assert "11.52 Å final resolution" in page.text
    assert "regularized with" not in page.text
    assert "--auto_refine" in page.text


def test_maps_that_are_gone_or_damaged_are_told(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path)
    gone = next(folder.glob("*_it011_half1_*_plain.mrc"))
    gone.unlink()
    damaged = next(folder.glob("*_it011_half2_*_reconstruct.mrc"))
    damaged.write_bytes(damaged.read_bytes()[:5000])
    page, found = report(folder)
    assert any(str(damaged) in note for note in found.notes)
    assert str(damaged) in page.text
    assert found.script is not None
    assert damaged.name not in found.script.read_text()


ODD_RECORDS = [
    "{}",
    "[" * 100_000,
    '{"outcome": ["x"], "seconds": 3, "warnings": {"a": 1}, "options": [1], "origins": 3, "facts": "x"}',
    '{"outcome": "regularized", "treatment": 3, "safeguards": {"shell_scale": ["x"], "shift_px": "far"}}',
    '{"outcome": "regularized", "treatment": {"weights": {}, "mask_share": "all"}, "mask": 3, "error": [1]}',
    '{"outcome": "plain", "reason": "\\ud800 \\u0000", "options": {"set": 3}, "extrecon": {"a": NaN}}',
    '{"outcome": "fallback", "peak_memory_megabytes": "much", "regularizer": [], "local_healpix_order": "x"}',
]


def test_records_of_any_shape_give_a_page(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path)
    paths = sorted(folder.glob("*_extrecon.json"), reverse=True)
    for path, content in zip(paths, ODD_RECORDS, strict=True):
        path.write_text(content)
    report(folder)


@pytest.mark.parametrize("root", ["<b>&'\"", "r [x] $a_1$", "r\udcff", "%s {0}"])
def test_odd_names_are_escaped(tmp_path: Path, root: str) -> None:
    page, _ = report(write_refinement(tmp_path / root, root=root, maps=False))
    assert root.encode("utf-8", "backslashreplace").decode() in page.text
    assert page.tags.count("b") == page.html.count("<b>")
    assert "<b>&" not in page.html


def test_a_classification_has_no_half_map_fsc(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path, maps=False)
    for path in folder.iterdir():
        if "_half2" in path.name or path.name.startswith("run_model"):
            path.unlink()
        elif "_half1" in path.name:
            path.rename(path.with_name(path.name.replace("_half1", "")))
    for path in folder.glob("*_optimiser.star"):
        path.write_text(re.sub(r"(_rlnDoSplitRandomHalves\s+)1", r"\g<1>0", path.read_text()))
    for path in folder.glob("*_extrecon.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"half": None, "joined": False}))
    page, _ = report(folder)
    assert "3D classification, 1 class, no half sets" in page.text
    assert "there is no half-map FSC" in page.text
    assert "Particles were classified" in page.text


def test_a_page_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        report(folder, "nowhere/page.html")


def test_two_pages_of_one_refinement_differ_in_their_date_alone(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path)
    first, second = (report(folder, name)[0].html.partition("<footer>")[0] for name in ("a.html", "b.html"))
    assert first == second
