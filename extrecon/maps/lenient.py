"""MRC files of other programs that a strict reader refuses, though their size and values make sense.

Two things are put up with: a machine stamp that is unknown or wrong, and bytes that follow the map. The byte order
is then the one that makes the header's sizes plausible and the file large enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile.dtypes
import mrcfile.utils
import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError

_LARGEST_PADDING = 4096
"""Bytes after a map: some systems fill up a block. More of them, and the header does not tell of the whole file."""
_LARGEST_EDGE = 1 << 16
_HEADER_BYTES = 1024


@dataclass(frozen=True)
class Leniently:
    """What could be read.

    Attributes
    ----------
    values : as stored, of the file's own type and byte order
    header : in the byte order found
    notes : sentences on what was put up with
    """

    values: npt.NDArray[Any]
    header: Any
    notes: tuple[str, ...]


def read_leniently(path: Path) -> Leniently | None:
    """Return what the file holds, or None if no byte order makes sense of it.

    Raises
    ------
    MapError : the header makes sense, but tells only of a part of the file.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if len(start) < _HEADER_BYTES:
        return None
    size = path.stat().st_size
    for order in "<>":
        header = np.frombuffer(start, mrcfile.dtypes.HEADER_DTYPE.newbyteorder(order)).reshape(()).view(np.recarray)
        needed = _bytes_needed(header)
        if needed is not None and needed <= size:
            return _read(path, header, order, size - needed)
    return None


def _bytes_needed(header: Any) -> int | None:
    """Return the size of the file that a header tells of; None if it makes no sense."""
    edges = [int(header.nx), int(header.ny), int(header.nz)]
    if bytes(header.map)[:3] != b"MAP" or not all(0 < edge < _LARGEST_EDGE for edge in edges):
        return None
    try:
        voxel = mrcfile.utils.data_dtype_from_header(header)
    except ValueError:
        return None
    extended = int(header.nsymbt)
    return None if extended < 0 else _HEADER_BYTES + extended + int(np.prod(edges, dtype=np.int64)) * voxel.itemsize


def _read(path: Path, header: Any, order: str, beyond: int) -> Leniently:
    voxel = mrcfile.utils.data_dtype_from_header(header).newbyteorder(order)
    shape = mrcfile.utils.data_shape_from_header(header)
    if beyond > _LARGEST_PADDING:
        raise MapError(
            f"{path}: not a readable MRC file: it holds {beyond} bytes more than its header's "
            f"{'×'.join(map(str, shape))} voxels need; the file is damaged, or its header is another file's."
        )
    values = np.fromfile(path, voxel, int(np.prod(shape)), offset=_HEADER_BYTES + int(header.nsymbt))
    notes = []
    if _stamped_order(header) != order:
        stamp = mrcfile.utils.pretty_machine_stamp(header.machst)
        kind = "little" if order == "<" else "big"
        notes.append(f"{path}: the machine stamp {stamp} is wrong; its sizes tell that it is {kind}-endian")
    if beyond:
        notes.append(f"{path}: holds {beyond} bytes more than its header says, which were left out")
    return Leniently(values.reshape(shape), header, tuple(notes))


def _stamped_order(header: Any) -> str:
    try:
        return str(mrcfile.utils.byte_order_from_machine_stamp(header.machst))
    except ValueError:
        return ""
