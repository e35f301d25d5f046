"""Strict reading and atomic writing of MRC files.

mrcfile alone would accept a damaged file in permissive mode, and would truncate the old file before it notices
that the new one cannot be written. Here a file is read whole or not at all, and replaced whole or not at all.
Maps that users give may have oddities that leave no doubt of their content: they are read, and the oddity told.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError
from extrecon.maps.half_map import FloatArray, HalfMap, count_not_finite
from extrecon.maps.lenient import Leniently, read_leniently
from extrecon.system.files import replacing

_PIXEL_SIZE_TOLERANCE = 1e-3  # between the edges of one voxel
_SAME_PIXEL_SIZE = 5e-5  # single precision, and the digits that STAR files keep
_PIXEL_SIZE_DIFFERENCE = 5e-3


@dataclass(frozen=True)
class _File:
    """What was read: values with axes z, y, x, the header, where the map starts (x, y, z), and what was odd."""

    values: npt.NDArray[np.float32]
    header: Any
    start_voxel: tuple[int, int, int]
    notes: tuple[str, ...] = ()


def read_volume(path: Path) -> npt.NDArray[np.float32]:
    """Return the values of an MRC file of real numbers as float32, axes as stored (z, y, x), whatever its shape.

    This is for files that RELION or extrecon wrote, where nothing odd is put up with.

    Raises
    ------
    MapError : missing, damaged, truncated, not real, or holding values that are not finite.
    """
    return _read(path, lenient=False).values


def read_map(path: Path, pixel_size_angstrom: float | None = None) -> HalfMap:
    """Read a cubic map with its pixel size; ``pixel_size_angstrom`` overrules the header's.

    A wrong machine stamp, a few bytes after the map and a stack of one volume are put up with, and told in the
    map's ``notes``.

    Raises
    ------
    MapError : as `read_volume`; not a cube; voxels not cubic; or no pixel size in the header and none given.
    """
    file = _cubic(path)
    size = pixel_size_angstrom or _header_pixel_size(path, file.header)
    return HalfMap(file.values, size, _origin(file.header), file.start_voxel, file.notes)


def read_companion(path: Path, pixel_size_angstrom: float, of: str, *, trust_header: bool = True) -> HalfMap:
    """Read a cubic map that lies on another one's grid, such as a mask, and compare the pixel sizes.

    Parameters
    ----------
    pixel_size_angstrom : the other map's, which the result gets
    of : what the other map is called in sentences
    trust_header : False where the user has given the pixel size because headers are wrong

    Raises
    ------
    MapError : as `read_map`, or the pixel size differs by more than 0.5 %.
    """
    file = _cubic(path)
    notes = file.notes
    if trust_header and _has_pixel_size(file.header):
        notes += differing_pixel_sizes(
            str(path), _header_pixel_size(path, file.header), of, pixel_size_angstrom, default_allowed=True
        )
    return HalfMap(file.values, pixel_size_angstrom, _origin(file.header), file.start_voxel, notes)


def differing_pixel_sizes(
    name: str, theirs: float, of: str, ours: float, *, default_allowed: bool = False
) -> tuple[str, ...]:
    """Return what to tell of two pixel sizes, Å, that should be one; nothing if they are.

    Parameters
    ----------
    default_allowed : put up with 1 Å, which programs write that know no pixel size

    Raises
    ------
    MapError : they differ by more than 0.5 %.
    """
    difference = abs(theirs / ours - 1)
    if difference <= _SAME_PIXEL_SIZE:
        return ()
    told = f"{name} has {theirs:.5g} Å/px, but {of} has {ours:.5g} Å/px"
    if default_allowed and theirs == 1.0:
        return (f"{told}: 1 is what programs write that do not know it, so it was taken as {ours:.5g}",)
    if difference > _PIXEL_SIZE_DIFFERENCE:
        raise MapError(f"{told}: they do not lie on one grid. Resample one, or correct the wrong header.")
    return (f"{told}: it was taken as {ours:.5g}",)


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


def _cubic(path: Path) -> _File:
    file = _read(path, lenient=True)
    shape = file.values.shape
    if len(shape) == 4 and shape[0] > 1:
        raise MapError(f"{path}: holds a stack of {shape[0]} volumes; give one map.")
    if len(shape) != 3 or len(set(shape)) != 1:
        raise MapError(f"{path}: expected a cubic map, found {_by(shape)} voxels.")
    return file


def _read(path: Path, *, lenient: bool) -> _File:
    check_regular(path)
    notes: tuple[str, ...] = ()
    try:
        data, header = _strictly(path)
    except (ValueError, OSError, RuntimeWarning) as error:
        found = _leniently(path) if lenient else None
        if found is None:
            raise MapError(f"{path}: not a readable MRC file: {error}") from error
        data, header, notes = found.values, found.header, found.notes
    if data is None or data.size == 0:
        raise MapError(f"{path}: holds no voxels.")
    if np.iscomplexobj(data):
        raise MapError(
            f"{path}: holds complex numbers (MRC mode {int(header.mode)}); a map of real numbers is needed."
        )
    if lenient and data.ndim == 4 and len(data) == 1:
        data, notes = data[0], (*notes, f"{path}: is stored as a stack of one volume, and was taken as a volume")
    values, start = _in_standard_order(path, data if data.dtype == np.float32 else data.astype(np.float32), header)
    _check_finite(path, values)
    return _File(values, header, start, notes)


def check_regular(path: Path) -> None:
    """Refuse what cannot be read at once: to open a pipe would wait for its writer for ever."""
    if path.is_dir():
        raise MapError(f"{path}: is a folder; an MRC file is needed.")
    if path.exists() and not path.is_file():
        raise MapError(f"{path}: is no regular file; an MRC file is needed.")
    if not path.is_file():
        raise MapError(f"{path}: no such file.")


def _strictly(path: Path) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2.5, what mrcfile does to its header
        warnings.simplefilter("error", RuntimeWarning)  # where a file is longer or shorter than its header says
        with mrcfile.open(path, mode="r", permissive=False) as mrc:
            return mrc.data, mrc.header.copy()


def _leniently(path: Path) -> Leniently | None:
    try:
        return read_leniently(path)
    except OSError:
        return None  # the strict reader's error says it


def _in_standard_order(
    path: Path, values: npt.NDArray[np.float32], header: Any
) -> tuple[npt.NDArray[np.float32], tuple[int, int, int]]:
    """Return a volume with axes z, y, x, whichever axis its columns, rows and sections run along, and its start.

    The header counts the start along columns, rows and sections; here it is along x, y and z.
    """
    along = (int(header.mapc), int(header.mapr), int(header.maps))
    starts = (int(header.nxstart), int(header.nystart), int(header.nzstart))
    if values.ndim != 3 or along in ((1, 2, 3), (0, 0, 0)):
        return values, starts
    if sorted(along) != [1, 2, 3]:
        raise MapError(f"{path}: the header's axis order (mapc, mapr, maps = {along}) makes no sense.")
    x, y, z = (along.index(axis) for axis in (1, 2, 3))
    # The array's own axes are sections, rows, columns: the reverse of the header's order.
    return np.ascontiguousarray(values.transpose([2 - z, 2 - y, 2 - x])), (starts[x], starts[y], starts[z])


def _check_finite(path: Path, values: npt.NDArray[np.float32]) -> None:
    bad = count_not_finite(values)
    if bad:
        raise MapError(f"{path}: {bad} of {values.size} values are NaN or infinite.")


def _has_pixel_size(header: Any) -> bool:
    """Tell whether a header holds a pixel size at all."""
    return bool(np.all(np.isfinite(sizes := _voxel_edges(header))) and np.all(sizes > 0))


def _voxel_edges(header: Any) -> npt.NDArray[np.float64]:
    """Return a voxel's edges along x, y, z, Å; 0 where the header does not tell."""
    cell = np.array([header.cella.x, header.cella.y, header.cella.z], dtype=np.float64)
    samples = np.array([header.mx, header.my, header.mz], dtype=np.float64)
    return np.divide(cell, samples, out=np.zeros(3), where=samples > 0)


def _header_pixel_size(path: Path, header: Any) -> float:
    if not _has_pixel_size(header):
        raise MapError(f"{path}: the header holds no pixel size; give it with --pixel-size (Å).")
    sizes = _voxel_edges(header)
    if np.ptp(sizes) > _PIXEL_SIZE_TOLERANCE * sizes.max():
        raise MapError(f"{path}: voxels are not cubic ({_by(np.round(sizes, 4))} Å); resample the map first.")
    return float(sizes[0])


def _origin(header: Any) -> tuple[float, float, float]:
    return float(header.origin.x), float(header.origin.y), float(header.origin.z)


def _by(lengths: Any) -> str:
    return "×".join(str(length) for length in lengths)
