from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrecon.errors import StarError
from extrecon.relion.star import read_star
from tests.jobs import write_job


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


LOOP = "data_t\n\nloop_ \n_rlnA #1 \n_rlnB #2 \n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("  \n \n", "the file is empty"),
        ("data_a\n\n_rlnX 1", "ends in the middle of a line"),
        ("nothing here\n", "holds no data block"),
        ("data_a\n\n_rlnX one two\n", "not a readable STAR file"),
        ("data_a\n\n_rlnX 'o\n", "not a readable STAR file"),
        (LOOP + "1 2\n1 2 3\n \n", "not a readable STAR file"),
    ],
)
def test_damaged_files_are_refused_by_name(text: str, told: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.star", text)
    with pytest.raises(StarError) as error:
        read_star(path)
    assert str(path) in str(error.value)
    assert told in str(error.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StarError, match="no such file"):
        read_star(tmp_path / "absent.star")
    (tmp_path / "b.star").write_bytes(b"\xff\xfe\x00data_")
    with pytest.raises(StarError, match="not a STAR file"):
        read_star(tmp_path / "b.star")


def test_a_mended_file_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.star", "data_a\n\n_rlnX one two\n")
    with pytest.raises(StarError):
        read_star(path)
    write(path, "data_a\n\n_rlnX 7\n")
    assert read_star(path).integer("a", "rlnX") == 7


def test_a_short_row_is_told_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(StarError, match="row 2 of data_t has no value in _rlnB"):
        read_star(write(tmp_path / "a.star", LOOP + "1 2\n3\n \n"))
    star = read_star(write(tmp_path / "a.star", LOOP + "1 2\n3 nan\n \n"))
    with pytest.raises(StarError, match="row 2 of data_t has no number in _rlnB"):
        star.column("t", "rlnB")


def test_values_are_checked(tmp_path: Path) -> None:
    star = read_star(write(tmp_path / "a.star", "data_a\n\n_rlnN 1.5\n_rlnW word\n_rlnI inf\n_rlnE ''\n"))
    assert star.number("a", "rlnN") == 1.5
    assert star.text("a", "rlnE") == ""
    for key, told in (("rlnN", "whole number"), ("rlnW", "'word'"), ("rlnI", "'inf'"), ("rlnQ", "lacks _rlnQ")):
        with pytest.raises(StarError, match=told):
            star.integer("a", key)
    with pytest.raises(StarError, match="data_b is missing"):
        star.values("b")
    with pytest.raises(StarError, match="loop data_a is missing"):
        star.column("a", "rlnN")


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=30))
def test_numbers_survive(values: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = "".join(f"{i} {value!r}\n" for i, value in enumerate(values))
    path = write(tmp_path_factory.mktemp("star") / "a.star", LOOP + rows + " \n")
    assert np.array_equal(read_star(path).column("t", "rlnB"), np.array(values))


def test_a_cut_job_never_reads_as_a_whole_one(tmp_path: Path) -> None:
    """Cut a real job file anywhere: it is refused, or what is left says the same as the whole."""
    from extrecon.relion.job import read_job

    files = write_job(tmp_path)
    whole = files.star.read_text()
    expected = read_job(files.star, tmp_path)
    refused = 0
    for end in range(0, len(whole), 7):
        files.star.write_text(whole[:end])
        try:
            job = read_job(files.star, tmp_path)
        except StarError:
            refused += 1
            continue
        assert job.original_size == expected.original_size
        assert job.tau2 is None or np.array_equal(job.tau2, expected.tau2)  # type: ignore[arg-type]
    assert refused > 0.9 * len(whole) / 7
