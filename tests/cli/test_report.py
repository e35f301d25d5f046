"""``extrecon report`` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.errors import ExtreconError, InputError, OutputError
from extrecon.pictures.refinement_page import SCRIPT_NAME
from tests.jobs import write_previous
from tests.pictures.pages import Page
from tests.report_job import write_refinement


def report(*words: str | Path) -> str:
    ran = CliRunner().invoke(app, ["report", *map(str, words)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_the_page_and_the_script_lie_beside_the_maps(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path / "job", root="fine")
    told = report(folder)
    page = folder / "fine_extrecon.html"
    assert told.splitlines() == [f"report: {page}", f"ChimeraX: {folder / SCRIPT_NAME}"]
    assert "Refinement" in Page(page).text
    assert (folder / SCRIPT_NAME).is_file()


def test_the_page_goes_where_it_is_asked_to(tmp_path: Path) -> None:
    folder = write_refinement(tmp_path / "job", maps=False)
    report(folder, "-o", tmp_path / "supplement.html")
    assert "regularized with cnn" in Page(tmp_path / "supplement.html").text
    assert not list(folder.glob("*.html"))


def test_a_refinement_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    write_previous(tmp_path, "run")
    report(tmp_path)
    assert "This refinement is not finished" in Page(tmp_path / "run_extrecon.html").text


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        (["absent"], InputError, "no such folder"),
        (["file"], InputError, "no such folder"),
        (["empty"], InputError, "holds no refinement"),
        (["job", "-o", "absent/page.html"], OutputError, "cannot be written"),
        (["job", "-o", "empty"], OutputError, "cannot be written"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], error: type[ExtreconError], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("empty").mkdir()
    write_refinement(Path("job"), maps=False)
    with pytest.raises(error, match=told):
        CliRunner().invoke(app, ["report", *words], catch_exceptions=False)


def test_a_folder_that_cannot_be_written_to_costs_the_script_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_refinement(tmp_path / "job")
    (folder / SCRIPT_NAME).mkdir()  # as good as a folder without permission, which root has everywhere
    told = report(folder, "-o", tmp_path / "page.html")
    assert "cannot be written" in told
    assert "ChimeraX:" not in told
    assert SCRIPT_NAME not in Page(tmp_path / "page.html").text.partition("cannot be written")[2]
