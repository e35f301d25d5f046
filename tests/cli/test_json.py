"""What a program reads of extrecon's commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo_data"
HALVES = [str(DEMO / "half1.mrc"), str(DEMO / "half2.mrc")]


def read(*words: str, code: int | None = 0) -> dict[str, Any]:
    ended = CliRunner().invoke(app, [*words, "--json"])
    if code is not None:
        assert ended.exit_code == code, ended.output
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    return found


def test_the_regularizers(plugins: Path) -> None:
    found = read("regularizers")
    names = {plugin["name"]: plugin for plugin in found["extrecon.regularizers"]}
    assert names["localdeblur"]["version"]
    assert "cannot be loaded" in names["broken-import"]["error"]
    assert [plugin["name"] for plugin in found["extrecon.local_resolution"]] == ["deepres", "monores"]


def test_one_regularizers_parameters() -> None:
    parameters = {p["name"]: p for p in read("regularizers", "localdeblur")["parameters"]}
    assert parameters["max-resolution"]["unit"] == "Å"
    assert parameters["max-resolution"]["type"] == "float"
    assert parameters["variant"]["choices"] == ["xmipp", "paper"]


def test_the_daemons_status() -> None:
    assert read("daemon", "status", code=1) == {"is_running": False}


def test_a_mask_and_its_fsc(tmp_path: Path) -> None:
    found = read("mask", *HALVES, "-o", str(tmp_path / "mask.mrc"), "--no-pictures")
    assert found["edge_angstrom"] > 0
    assert found["masked_resolution_angstrom"] <= found["unmasked_resolution_angstrom"]
    assert len(found["fsc"]["corrected"]) == 17
    assert found["warnings"] == []


def test_the_scores(tmp_path: Path) -> None:
    found = read("validate", *HALVES, "-o", str(tmp_path))
    assert found == json.loads((tmp_path / "validation.json").read_text())


def test_the_doctors_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE", raising=False)
    found = read("doctor", code=None)
    states = {finding["what"]: finding["state"] for finding in found["findings"]}
    assert states["Python"] == "good"
    assert set(states.values()) <= {"good", "note", "bad"}
