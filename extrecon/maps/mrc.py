"""Strict reading and atomic writing of MRC files.

mrcfile alone would accept a damaged file in permissive mode, and would truncate the old file before it notices
that the new one cannot be written. Here a file is read whole or not at all, and replaced whole or not at all.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError
from extrecon.maps.half_map import FloatArray, HalfMap
from extrecon.system.files import replacing

_PIXEL_SIZE_TOLERANCE = 1e-3


def read_volume(path: Path) -> npt.NDArray[np.float32]:
    """Return the values of an MRC file of real numbers as float32, axes as stored (z, y, x), whatever its shape.

    Raises
    ------
    MapError : missing, damaged, truncated, not real, or holding values that are not finite.
    """
    volume, _ = _read(path)
    return volume


def read_map(path: Path, pixel_size_angstrom: float | None = None) -> HalfMap:
    """Read a cubic map with its pixel size; ``pixel_size_angstrom`` overrules the header's.

    Raises
    ------
    MapError : as `read_volume`; not a cube; voxels not cubic; or no pixel size in the header and none given.
    """
    volume, header = _read(path)
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        raise MapError(f"{path}: expected a cubic map, found {_by(volume.shape)} voxels.")
    size = pixel_size_angstrom or _header_pixel_size(path, header)
    origin = (float(header.origin.x), float(header.origin.y), float(header.origin.z))
    start = (int(header.nxstart), int(header.nystart), int(header.nzstart))
    return HalfMap(volume, size, origin, start)


def write_map(path: Path, half_map: HalfMap) -> None:
    """Write a map as float32 (mode 2), replacing ``path`` in one step so that no reader ever sees half a file.

    Raises
    ------
    OutputError : the folder is missing or read-only, or the disk is full; an old file at ``path`` is untouched.
    """
    write_volume(
        path, half_map.density, half_map.pixel_size_angstrom, half_map.origin_angstrom, half_map.start_voxel
    )


def write_volume(
    path: Path,
    values: FloatArray,
    pixel_size_angstrom: float,
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0),
    start_voxel: tuple[int, int, int] = (0, 0, 0),
) -> None:
    """Write an array (2D or 3D) as `write_map` does; a pixel size of 0 leaves the header without one."""
    with replacing(path) as temporary, mrcfile.new(temporary, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(values, dtype=np.float32))
        if values.ndim == 3:
            mrc.set_volume()
        mrc.voxel_size = pixel_size_angstrom
        mrc.header.origin.x, mrc.header.origin.y, mrc.header.origin.z = origin_angstrom
        mrc.header.nxstart, mrc.header.nystart, mrc.header.nzstart = start_voxel


def _read(path: Path) -> tuple[npt.NDArray[np.float32], Any]:
    if not path.is_file():
        raise MapError(f"{path}: no such file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # mrcfile warns where a file is longer or shorter than its header says
            with mrcfile.open(path, mode="r", permissive=False) as mrc:
                data, header = mrc.data, mrc.header.copy()
    except (ValueError, OSError, RuntimeWarning) as error:
        raise MapError(f"{path}: not a readable MRC file: {error}") from error
    if data is None or data.size == 0:
        raise MapError(f"{path}: holds no voxels.")
    if np.iscomplexobj(data):
        raise MapError(
            f"{path}: holds complex numbers (MRC mode {int(header.mode)}); a map of real numbers is needed."
        )
    values = _in_standard_order(path, data if data.dtype == np.float32 else data.astype(np.float32), header)
    _check_finite(path, values)
    return values, header


def _in_standard_order(path: Path, values: npt.NDArray[np.float32], header: Any) -> npt.NDArray[np.float32]:
    """Return a volume with axes z, y, x, whichever axis the file's columns, rows and sections run along."""
    along = (int(header.maps), int(header.mapr), int(header.mapc))
    if values.ndim != 3 or along in ((3, 2, 1), (0, 0, 0)):
        return values
    if sorted(along) != [1, 2, 3]:
        raise MapError(f"{path}: the header's axis order (mapc, mapr, maps = {along[::-1]}) makes no sense.")
    return np.ascontiguousarray(values.transpose([along.index(axis) for axis in (3, 2, 1)]))


def _check_finite(path: Path, values: npt.NDArray[np.float32]) -> None:
    # One pass: the sum of finite float32 values, taken in double precision, is finite; NaN and infinity survive it.
    with np.errstate(invalid="ignore"):
        total = values.sum(dtype=np.float64)
    if not np.isfinite(total):
        bad = int(values.size - np.isfinite(values).sum())
        raise MapError(f"{path}: {bad} of {values.size} values are NaN or infinite.")


def _header_pixel_size(path: Path, header: Any) -> float:
    cell = np.array([header.cella.x, header.cella.y, header.cella.z], dtype=np.float64)
    samples = np.array([header.mx, header.my, header.mz], dtype=np.float64)
    sizes = np.divide(cell, samples, out=np.zeros(3), where=samples > 0)
    if not np.all(np.isfinite(sizes)) or np.any(sizes <= 0):
        raise MapError(f"{path}: the header holds no pixel size; give it with --pixel-size (Å).")
    if np.ptp(sizes) > _PIXEL_SIZE_TOLERANCE * sizes.max():
        raise MapError(f"{path}: voxels are not cubic ({_by(np.round(sizes, 4))} Å); resample the map first.")
    return float(sizes[0])


def _by(lengths: Any) -> str:
    return "×".join(str(length) for length in lengths)
