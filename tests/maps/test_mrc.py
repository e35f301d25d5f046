from __future__ import annotations

import resource
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extrecon.errors import MapError, OutputError
from extrecon.maps import HalfMap, read_map, read_volume, write_map
from extrecon.maps.mrc import write_volume

finite = st.floats(-(2.0**40), 2.0**40, width=32)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.integers(1, 5).flatmap(lambda n: arrays(np.float32, (n, n, n), elements=finite)),
    size=st.floats(0.1, 20.0),
    origin=st.tuples(finite, finite, finite),
)
def test_a_map_is_read_back_as_written(
    values: np.ndarray, size: float, origin: tuple[float, float, float], tmp_path: Path
) -> None:
    path = tmp_path / "map.mrc"
    write_map(path, HalfMap(values, size, origin, (1, -2, 3)))
    back = read_map(path)
    assert np.array_equal(back.density, values)
    assert back.pixel_size_angstrom == pytest.approx(size, rel=1e-5)
    assert back.origin_angstrom == origin
    assert back.start_voxel == (1, -2, 3)


def test_axes_are_z_y_x(tmp_path: Path) -> None:
    values = np.zeros((4, 4, 4), np.float32)
    values[3, 2, 1] = 1.0
    write_map(tmp_path / "map.mrc", HalfMap(values, 1.0))
    raw = np.fromfile(tmp_path / "map.mrc", np.float32, offset=1024)
    assert raw.argmax() == 3 * 16 + 2 * 4 + 1


def test_other_axis_orders_are_put_right(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    with mrcfile.new(tmp_path / "map.mrc") as mrc:
        mrc.set_data(values.transpose(2, 1, 0))
        mrc.voxel_size = 1.5
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = 3, 2, 1
    assert np.array_equal(read_map(tmp_path / "map.mrc").density, values)


def test_half_precision_and_integers_are_read(tmp_path: Path) -> None:
    for kind in (np.float16, np.int16, np.int8):
        path = tmp_path / f"{np.dtype(kind)}.mrc"
        with mrcfile.new(path) as mrc:
            mrc.set_data(np.arange(8).reshape(2, 2, 2).astype(kind))
            mrc.voxel_size = 1.0
        assert np.array_equal(read_map(path).density.ravel(), np.arange(8))


@pytest.mark.parametrize("kept", [0, 100, 1023, 1024, 1030, 1024 + 4 * 63])
def test_a_truncated_file_is_refused(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "map.mrc"
    write_map(path, HalfMap(np.ones((4, 4, 4), np.float32), 1.0))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(MapError, match=r"map\.mrc"):
        read_volume(path)


def test_a_file_with_more_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.mrc"
    write_map(path, HalfMap(np.ones((4, 4, 4), np.float32), 1.0))
    path.write_bytes(path.read_bytes() + b"\0" * 8)
    with pytest.raises(MapError, match="not a readable MRC file"):
        read_volume(path)


def test_what_libraries_deprecate_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_map(tmp_path / "map.mrc", HalfMap(np.ones((8, 8, 8), dtype=np.float32), 2.0))
    opened = mrcfile.open

    def deprecating(*words: Any, **named: Any) -> Any:
        warnings.warn("Setting the dtype on a NumPy array has been deprecated in NumPy 2.5.", DeprecationWarning, 2)
        return opened(*words, **named)

    monkeypatch.setattr(mrcfile, "open", deprecating)
    assert read_map(tmp_path / "map.mrc").box == 8


def test_values_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "map.mrc"
    write_map(path, HalfMap(np.ones((4, 4, 4), np.float32), 1.0))
    bad = np.array([np.nan, np.inf, -np.inf], np.float32).tobytes()
    path.write_bytes(path.read_bytes()[: -len(bad)] + bad)
    with pytest.raises(MapError, match="3 of 64 values are NaN or infinite"):
        read_volume(tmp_path / "map.mrc")


def test_maps_that_are_no_half_maps_are_refused(tmp_path: Path) -> None:
    write_volume(tmp_path / "slab.mrc", np.ones((2, 4, 4), np.float32), 1.0)
    write_volume(tmp_path / "sizeless.mrc", np.ones((4, 4, 4), np.float32), 0.0)
    with mrcfile.new(tmp_path / "oblong.mrc") as mrc:
        mrc.set_data(np.ones((4, 4, 4), np.float32))
        mrc.voxel_size = (1.0, 1.0, 2.0)
    with mrcfile.new(tmp_path / "complex.mrc") as mrc:
        mrc.set_data(np.ones((4, 4, 4), np.complex64))
    for name, told in (
        ("slab", "expected a cubic map, found 2×4×4 voxels"),
        ("sizeless", "no pixel size; give it with --pixel-size"),
        ("oblong", "voxels are not cubic"),
        ("complex", "complex numbers"),
        ("absent", "no such file"),
    ):
        with pytest.raises(MapError, match=told):
            read_map(tmp_path / f"{name}.mrc")
    assert read_map(tmp_path / "sizeless.mrc", 2.5).pixel_size_angstrom == 2.5


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pixel_size_must_make_sense(size: float) -> None:
    with pytest.raises(MapError, match="pixel size"):
        HalfMap(np.ones((2, 2, 2), np.float32), size)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"absent/map\.mrc: cannot be written"):
        write_map(tmp_path / "absent" / "map.mrc", HalfMap(np.ones((2, 2, 2), np.float32), 1.0))


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "map.mrc"
    write_map(path, HalfMap(np.ones((16, 16, 16), np.float32), 1.0))
    before = path.read_bytes()
    program = (
        "import sys, signal, resource, numpy as np; from pathlib import Path\n"
        "from extrecon.errors import OutputError; from extrecon.maps import HalfMap, write_map\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit({resource.RLIMIT_FSIZE}, (4096, 4096))\n"
        "try: write_map(Path(sys.argv[1]), HalfMap(np.zeros((16, 16, 16), np.float32), 1.0))\n"
        "except OutputError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in ran.stdout
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
