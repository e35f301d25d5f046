from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from extrecon.daemon.sources import Sources


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with installed packages; it holds one, with a plugin."""
    folder = tmp_path / "site"
    (folder / "first-1.0.dist-info").mkdir(parents=True)
    (folder / "first-1.0.dist-info" / "entry_points.txt").write_text("[extrecon.regularizers]\na = first:A\n")
    monkeypatch.setattr(sys, "path", [str(folder), str(tmp_path / "absent")])
    return folder


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "code.py"
    path.write_text("one\n")
    return path


@pytest.fixture
def sources(site: Path, code: Path) -> Sources:
    return Sources([str(code), str(code.with_name("not there yet.py"))])


def test_what_was_only_read_has_not_changed(sources: Sources, site: Path, code: Path) -> None:
    code.read_text()
    (site / "module.py").write_text("no package's metadata, and nothing that was loaded\n")
    (site / "first-1.0.dist-info" / "RECORD").write_text("which is not read either\n")
    assert sources.change() is None


def test_a_file_written_anew_has_changed(sources: Sources, code: Path) -> None:
    before = code.stat()
    code.write_text("two\n")
    os.utime(code, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert sources.change() == f"{code} has changed"


def test_a_file_of_another_length_has_changed_even_at_the_same_time(sources: Sources, code: Path) -> None:
    before = code.stat()
    code.write_text("longer\n")
    os.utime(code, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sources.change() == f"{code} has changed"


def test_a_file_that_goes_or_comes_has_changed(sources: Sources, code: Path) -> None:
    held = code.rename(code.with_name("held"))
    assert sources.change() == f"{code} has changed"
    held.rename(code)
    assert sources.change() is None
    code.with_name("not there yet.py").touch()
    assert sources.change() == f"{code.with_name('not there yet.py')} has changed"


def test_packages_that_are_installed_or_removed_are_noticed(sources: Sources, site: Path) -> None:
    (site / "second-2.0.dist-info").mkdir()
    assert sources.change() == "installed packages have changed (second-2.0.dist-info)"
    (site / "second-2.0.dist-info").rmdir()
    assert sources.change() is None
    (site / "first-1.0.dist-info").rename(site / "first-1.1.dist-info")
    assert sources.change() == "installed packages have changed (first-1.0.dist-info)"


def test_a_plugin_declared_anew_is_noticed(sources: Sources, site: Path) -> None:
    with (site / "first-1.0.dist-info" / "entry_points.txt").open("a") as file:
        file.write("b = first:B\n")
    assert sources.change() == "installed packages have changed (first-1.0.dist-info)"


def test_a_file_added_later_counts_from_then_on(sources: Sources, code: Path) -> None:
    weights = code.with_name("weights")
    weights.write_text("one")
    assert sources.change() is None
    sources.add([str(weights), str(code)])
    assert sources.change() is None
    weights.write_text("another")
    assert sources.change() == f"{weights} has changed"


def test_too_few_files_to_look_with_is_no_answer(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "scandir", full)
    with pytest.raises(OSError, match="too many open files"):
        sources.change()
