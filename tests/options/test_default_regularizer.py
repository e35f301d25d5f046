"""The regularizer where nobody has named one."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrecon.options import resolve
from extrecon.options.default_regularizer import BEST, BEST_NEEDS, WITHOUT
from extrecon.regularizer import available, load
from extrecon.system import packages


def resolved(name: str | None, folder: Path) -> str:
    return resolve({"regularizer": name}, [], {}, None, folder).text("regularizer")


@pytest.mark.parametrize(("missing", "expected"), [((), BEST), (("torch",), WITHOUT), (("safetensors",), WITHOUT)])
def test_the_best_one_that_can_work(
    missing: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extrecon.options.default_regularizer.is_installed", lambda package: package not in missing)
    assert resolved(None, tmp_path) == expected
    assert resolved("auto", tmp_path) == expected


def test_a_name_is_taken_at_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "is_installed", lambda package: False)
    assert resolved("cnn", tmp_path) == "cnn"


def test_what_is_asked_for_is_what_the_best_one_needs() -> None:
    assert {BEST, WITHOUT} <= set(available())
    assert set(load(BEST).needs_packages) == set(BEST_NEEDS)
    assert not load(WITHOUT).needs_packages
