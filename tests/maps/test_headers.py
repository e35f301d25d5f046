"""Headers as other programs write them; gemmi and mrcfile's validator judge what is written."""

from __future__ import annotations

import io
import os
import re
from itertools import permutations
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extrecon.errors import MapError
from extrecon.maps import HalfMap, read_map, read_volume, write_map
from extrecon.maps.mrc import read_companion, write_volume

BOX = 6
STAMP, TRUE_STAMP = slice(212, 216), b"\x44\x44\x00\x00"


def values_of(seed: int = 0, box: int = BOX) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(box,) * 3).astype(np.float32)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.permutations([1, 2, 3]),
    starts=st.tuples(*[st.integers(-20, 20)] * 3),
    origin=st.tuples(*[st.floats(-100, 100, width=32)] * 3),
    pixel=st.sampled_from([0.8, 1.0, 5.4]),
)
def test_a_map_overlays_itself_after_reading_and_writing(
    axes: list[int], starts: tuple[int, int, int], origin: tuple[float, float, float], pixel: float, tmp_path: Path
) -> None:
    given_path, written = tmp_path / "given.mrc", tmp_path / "written.mrc"
    with mrcfile.new(given_path, overwrite=True) as mrc:
        mrc.set_data(values_of())
        mrc.voxel_size = pixel
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = axes
        mrc.header.nxstart, mrc.header.nystart, mrc.header.nzstart = starts
        mrc.header.origin.x, mrc.header.origin.y, mrc.header.origin.z = origin
    found = read_map(given_path)
    assert [found.start_voxel[axis - 1] for axis in axes] == list(starts)
    write_map(written, found)
    ours, theirs = (gemmi.read_ccp4_map(str(path), setup=True).grid for path in (written, given_path))
    assert np.array_equal(ours.array, theirs.array)
    assert ours.unit_cell.approx(theirs.unit_cell, 1e-4)
    with mrcfile.open(written) as mrc:
        assert mrc.header.origin.tolist() == pytest.approx(origin)


@pytest.mark.parametrize("axes", sorted(permutations((1, 2, 3))))
def test_starts_follow_their_axes(axes: tuple[int, int, int], tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "map.mrc") as mrc:
        mrc.set_data(values_of())
        mrc.voxel_size = 2.0
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = axes
        mrc.header.nxstart, mrc.header.nystart, mrc.header.nzstart = (10 * axis for axis in axes)
    assert read_map(tmp_path / "map.mrc").start_voxel == (10, 20, 30)


def test_other_readers_take_what_is_written(tmp_path: Path) -> None:
    write_map(tmp_path / "map.mrc", HalfMap(values_of(), 1.7, (3.0, -4.0, 5.5), (7, -8, 9)))
    write_map(tmp_path / "constant.mrc", HalfMap(np.zeros((BOX,) * 3, np.float32), 1.0))
    write_volume(tmp_path / "image.mrc", values_of()[0], 2.0)
    write_volume(tmp_path / "sizeless.mrc", values_of(), 0.0)
    for path in sorted(tmp_path.glob("*.mrc")):
        told = io.StringIO()
        assert mrcfile.validate(path, print_file=told), f"{path.name}: {told.getvalue()}"
        gemmi.read_ccp4_map(str(path))


def patched(path: Path, place: slice, with_bytes: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[place] = with_bytes
    path.write_bytes(whole)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [b"\x44\x11\x00\x00", b"\0\0\0\0", b"\x11\x11\0\0", TRUE_STAMP, b"DA\0\0"])
def test_the_sizes_tell_the_byte_order_where_the_stamp_does_not(order: str, stamp: bytes, tmp_path: Path) -> None:
    path = tmp_path / "map.mrc"
    write_map(path, HalfMap(values_of(), 1.5))
    if order == ">":
        with mrcfile.open(path) as mrc:
            header, data = mrc.header.copy(), mrc.data
        swapped = header.astype(header.dtype.newbyteorder(">"))
        path.write_bytes(swapped.tobytes() + data.astype(">f4").tobytes())
    patched(path, STAMP, stamp)
    found = read_map(path)
    assert np.array_equal(found.density, values_of())
    assert found.pixel_size_angstrom == pytest.approx(1.5)
    right = stamp in ((TRUE_STAMP, b"DA\0\0") if order == "<" else (b"\x11\x11\0\0",))
    assert [f"{path}: the machine stamp" in note for note in found.notes] == ([] if right else [True])


def test_bytes_after_the_map_are_told_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "map.mrc"
    write_map(path, HalfMap(values_of(), 1.5))
    path.write_bytes(path.read_bytes() + b"\xff" * 512)
    found = read_map(path)
    assert np.array_equal(found.density, values_of())
    assert "512 bytes more than its header says" in " ".join(found.notes)


def test_a_header_that_tells_of_a_part_of_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.mrc"
    write_map(path, HalfMap(values_of(box=24), 1.5))
    patched(path, slice(0, 12), np.array([12, 12, 12], "<i4").tobytes())
    with pytest.raises(MapError, match="48384 bytes more"):
        read_map(path)


def test_what_relion_writes_itself_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "weight.mrc"
    for place, with_bytes in ((STAMP, b"\0\0\0\0"), (slice(10_000, 10_000), b"\0" * 8)):
        write_map(path, HalfMap(values_of(), 1.5))
        patched(path, place, with_bytes)
        with pytest.raises(MapError, match="not a readable MRC file"):
            read_volume(path)


def test_a_stack_of_one_volume_is_a_volume(tmp_path: Path) -> None:
    for count in (1, 2):
        with mrcfile.new(tmp_path / f"stack{count}.mrc") as mrc:
            mrc.set_data(np.stack([values_of()] * count))
            mrc.voxel_size = 1.5
            assert mrc.header.ispg == 401
    found = read_map(tmp_path / "stack1.mrc")
    assert np.array_equal(found.density, values_of())
    assert found.pixel_size_angstrom == pytest.approx(1.5)
    assert "a stack of one volume" in " ".join(found.notes)
    with pytest.raises(MapError, match="holds a stack of 2 volumes; give one map"):
        read_map(tmp_path / "stack2.mrc")


@pytest.mark.timeout(20)
def test_pipes_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mrc")
    for name, told in (("pipe.mrc", "is no regular file"), (".", "is a folder")):
        with pytest.raises(MapError, match=told):
            read_map(tmp_path / name)


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        (2.0, None),
        (2.00001, None),
        (0.0, None),
        (2.008, "2.008 Å/px.*2 Å/px.*taken as 2"),
        (1.0, "1 Å/px.*2 Å/px.*taken as 2"),
    ],
)
def test_small_differences_of_pixel_size_are_told(theirs: float, told: str | None, tmp_path: Path) -> None:
    write_volume(tmp_path / "mask.mrc", np.ones((BOX,) * 3, np.float32), theirs)
    found = read_companion(tmp_path / "mask.mrc", 2.0, "the map")
    assert found.pixel_size_angstrom == 2.0
    if told is None:
        assert not found.notes
    else:
        (note,) = found.notes
        assert re.search(told, note)


@pytest.mark.parametrize("theirs", [4.0, 2.02, 1.98])
def test_other_pixel_sizes_are_refused(theirs: float, tmp_path: Path) -> None:
    write_volume(tmp_path / "mask.mrc", np.ones((BOX,) * 3, np.float32), theirs)
    with pytest.raises(MapError, match=rf"mask\.mrc has {theirs:g} Å/px, but the map has 2 Å/px"):
        read_companion(tmp_path / "mask.mrc", 2.0, "the map")
