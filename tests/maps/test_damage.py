"""Damaged MRC files are refused in a sentence, or read as what they say; nothing else happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from extrecon.errors import MapError
from extrecon.maps import HalfMap, read_map, read_volume, write_map

BOX = 8
LENGTH = 1024 + 4 * BOX**3


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    density = np.random.default_rng(1).normal(size=(BOX,) * 3).astype(np.float32)
    write_map(tmp_path / "map.mrc", HalfMap(density, 1.5))
    return (tmp_path / "map.mrc").read_bytes()


def reads_or_refuses(path: Path) -> None:
    for read in (read_map, read_volume):
        try:
            found = read(path)
        except MapError as error:
            assert str(path) in str(error)  # noqa: PT017  it may also be read
            continue
        values = found.density if isinstance(found, HalfMap) else found
        assert values.dtype == np.float32
        assert np.isfinite(values).all()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 7)), min_size=1, max_size=8))
@example(flips=[(12, 0)])  # mode 3, complex 16-bit integers
@example(flips=[(3, 7)])  # a negative number of columns
@example(flips=[(95, 6)])  # an extended header of a gigabyte
def test_flipped_bits_of_a_header(flips: list[tuple[int, int]], content: bytes, tmp_path: Path) -> None:
    damaged = bytearray(content)
    for place, bit in flips:
        damaged[place] ^= 1 << bit
    path = tmp_path / "damaged.mrc"
    path.write_bytes(damaged)
    reads_or_refuses(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, LENGTH - 1))
@example(length=0)
@example(length=1024)
def test_a_map_cut_short_is_refused(length: int, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "short.mrc"
    path.write_bytes(content[:length])
    for read in (read_map, read_volume):
        with pytest.raises(MapError):
            read(path)
