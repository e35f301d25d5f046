"""MRC files too large to be held whole: read strictly, some sections at a time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError
from extrecon.maps.half_map import count_not_finite
from extrecon.maps.mrc import check_regular, read_volume

EVERY_PLANE = slice(None)
_HEADER_BYTES = 1024


class Planes:
    """The sections of one MRC file, of which none is kept.

    Parameters
    ----------
    path : a file as RELION or extrecon writes it, of any real type

    Raises
    ------
    MapError : as `read_volume`, but that values which are not finite show when they are read.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path)
        self._path = path
        self._whole: npt.NDArray[np.float32] | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2.5, what mrcfile does to its header
                warnings.simplefilter("error", RuntimeWarning)  # a file longer or shorter than its header says
                with mrcfile.mmap(path, mode="r", permissive=False) as mrc:
                    self.shape: tuple[int, ...] = mrc.data.shape
                    self._type: np.dtype[Any] = mrc.data.dtype
                    self._begin = _HEADER_BYTES + int(mrc.header.nsymbt)
                    order = (int(mrc.header.mapc), int(mrc.header.mapr), int(mrc.header.maps))
        except (ValueError, OSError, RuntimeWarning) as error:
            raise MapError(f"{path}: not a readable MRC file: {error}") from error
        if order not in ((1, 2, 3), (0, 0, 0)) or len(self.shape) != 3 or self._type.kind == "c":
            self._whole = read_volume(path)
            self.shape = self._whole.shape

    def read(self, planes: slice) -> npt.NDArray[np.float32]:
        """Return some sections as float32, axes as stored (z, y, x).

        Raises
        ------
        MapError : the file cannot be read any more, or holds values that are not finite.
        """
        if self._whole is not None:
            return self._whole[planes]
        start, stop, _ = planes.indices(self.shape[0])
        points = self.shape[1] * self.shape[2]
        count, offset = max(0, stop - start) * points, self._begin + start * points * self._type.itemsize
        try:
            values = np.fromfile(self._path, self._type, count, offset=offset)
        except OSError as error:
            raise MapError(f"{self._path}: cannot be read: {error.strerror}.") from error
        if values.size != count:
            raise MapError(f"{self._path}: has become shorter while it was read.")
        if count_not_finite(values):
            read_volume(self._path)  # says how many there are
        return values.reshape(-1, *self.shape[1:]).astype(np.float32, copy=False)
