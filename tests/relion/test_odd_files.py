"""What stands where a STAR file should, and is none, is refused at once and with a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrecon.errors import InputError, StarError
from extrecon.reconstruction import Geometry
from extrecon.relion.job import read_job
from extrecon.relion.names import parse_job_name
from extrecon.relion.search import SearchState, read_search_state
from extrecon.relion.star import read_star
from tests.jobs import JobFiles, write_job, write_previous


def test_a_pipe_as_star_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "run_it004_half1_class001_external_reconstruct.star"
    os.mkfifo(pipe)
    code = f"from pathlib import Path; from extrecon.relion.star import read_star; read_star(Path({str(pipe)!r}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=10, check=False)
    assert "StarError" in ended.stderr
    assert "no regular file" in ended.stderr


def test_a_folder_or_device_as_star_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(StarError, match="no regular file"):
            read_star(path)


def test_a_table_of_signal_without_rows_is_refused(tmp_path: Path) -> None:
    star = write_job(tmp_path).star
    text = star.read_text(encoding="utf-8")
    head, loop, table = text.rpartition("loop_")
    names = [line for line in table.splitlines() if line.startswith("_")]
    star.write_text(head + loop + "\n" + "\n".join(names) + "\n\n", encoding="utf-8")
    with pytest.raises(StarError, match=str(star.name)):
        read_job(star, tmp_path)


@pytest.mark.parametrize(
    ("words", "sequential"),
    [
        (" --sequential_halves_recons --o run", True),
        (" --x --sequential_halves_recons", True),
        (" --pad 1", False),
    ],
)
def test_halves_that_come_one_after_the_other_are_known(words: str, sequential: bool, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    write_previous(tmp_path, "run", command=words)
    name = parse_job_name(files.star)
    assert name is not None
    assert read_search_state(name, 0.0).sequential_halves is sequential


def _optimiser(folder: Path, *, comment: bytes = b"", mask: bytes = b"None") -> JobFiles:
    """Write a job whose optimiser file of the iteration before holds these bytes."""
    files = write_job(folder)
    path = files.previous("optimiser")
    content = path.read_bytes()
    for old, new in ((b"# --o run", b"# --o run" + comment), (b"MaskName   None", b"MaskName   " + mask)):
        assert old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    return files


def _state(files: JobFiles) -> SearchState:
    name = parse_job_name(files.star)
    assert name is not None
    return read_search_state(name, 0.0)


@pytest.mark.parametrize(
    "comment",
    [
        b" # particule d\xe9j\xe0 vue",
        b" --i it's.star",
        b' --i "half.star',
        b" \xff\xfe\x80",
        " \u2028 \x85 data_ _x".encode(),
        b" \x0b\x0c\x1c loop_ data_x",
    ],
)
def test_a_comment_may_hold_any_byte(comment: bytes, tmp_path: Path) -> None:
    state = _state(_optimiser(tmp_path, comment=comment))
    assert (state.healpix_order, state.local_healpix_order, state.problems) == (4, 4, ())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"masks/it's.mrc", b"masks/it's.mrc"),
        (b'masks/half".mrc', b'masks/half".mrc'),
        (b'"a mask\'s.mrc"', b"a mask's.mrc"),
        (b'"a"b  c.mrc"', b'a"b  c.mrc'),  # RELION escapes nothing
        (b'""first.mrc"', b'"first.mrc'),
        (b"'a \"mask\".mrc'", b'a "mask".mrc'),
        (b"\"'quoted'.mrc\"", b"'quoted'.mrc"),
        (b"d\xe9j\xe0.mrc", b"d\xe9j\xe0.mrc"),
        ("no\xa0break\u2028.mrc".encode(), "no\xa0break\u2028.mrc".encode()),
        (b"a#b.mrc", b"a#b.mrc"),
        (b'"#1 b.mrc"', b"#1 b.mrc"),
        (b"_under.mrc", b"_under.mrc"),
        (b"data_1.mrc", b"data_1.mrc"),
        (b"12", b"12"),
        (b"1e5", b"1e5"),
    ],
)
def test_a_path_is_read_as_relion_wrote_it(written: bytes, meant: bytes, tmp_path: Path) -> None:
    state = _state(_optimiser(tmp_path, mask=written))
    assert state.problems == ()
    assert os.fsencode(str(state.solvent_mask)) == meant


@pytest.mark.parametrize("mask", [b'"no end', b"'no end", b'"a"b', b"two words", b""])
def test_a_value_that_cannot_be_told_is_refused(mask: bytes, tmp_path: Path) -> None:
    problems = _state(_optimiser(tmp_path, mask=mask)).problems
    assert len(problems) == 1
    assert "not a readable STAR file: line " in problems[0]


def test_a_folder_in_any_encoding_is_read(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"d\xe9j\xe0_\xff")
    files = write_job(folder)
    content = files.star.read_bytes().replace(b"   run_it005", b"   " + os.fsencode(folder.name) + b"/run_it005")
    files.star.write_bytes(content)
    job = read_job(files.star, tmp_path)
    assert job.weight.is_file()
    assert job.result == files.result
    assert _state(files).is_local is True


def _damaged(content: bytes, flips: list[tuple[int, int]], end: int) -> bytes:
    changed = bytearray(content)
    for place, bit in flips:
        changed[place % len(changed)] ^= 1 << bit
    return bytes(changed[: end % (len(changed) + 1)] if end else changed)


damage = {
    "flips": st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), max_size=6),
    "end": st.one_of(st.just(0), st.integers(1, 10**6)),
}


@pytest.fixture(scope="module")
def job_files(tmp_path_factory: pytest.TempPathFactory) -> JobFiles:
    return write_job(tmp_path_factory.mktemp("damage"))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(**damage)
def test_a_damaged_job_is_refused_or_makes_sense(
    job_files: JobFiles, flips: list[tuple[int, int]], end: int
) -> None:
    whole = job_files.folder / "whole"
    if not whole.exists():
        whole.write_bytes(job_files.star.read_bytes())
    job_files.star.write_bytes(_damaged(whole.read_bytes(), flips, end))
    try:
        job = read_job(job_files.star, job_files.folder)
        geometry = Geometry(job.original_size, job.current_size, job.padding_factor, job.dimensions)
        assert len(geometry.accumulator_shape) == job.dimensions
    except InputError:
        return
    assert job.tau2 is None or (np.isfinite(job.tau2).all() and (job.tau2 >= 0).all())


@settings(max_examples=400, deadline=None, derandomize=True)
@given(**damage)
def test_a_damaged_optimiser_is_told_or_makes_sense(
    job_files: JobFiles, flips: list[tuple[int, int]], end: int
) -> None:
    path, whole = job_files.previous("optimiser"), job_files.folder / "optimiser"
    if not whole.exists():
        whole.write_bytes(path.read_bytes())
    path.write_bytes(_damaged(whole.read_bytes(), flips, end))
    state = _state(job_files)
    assert state.problems or state.is_local is not None
