"""The three MRC files that hold a half-map's Fourier accumulators."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError
from extrecon.maps.planes import EVERY_PLANE, Planes
from extrecon.relion.job import Job


@dataclass(frozen=True)
class AccumulatorFiles:
    """Reads each accumulator when it is asked for, as much as is asked for, and keeps none.

    Attributes
    ----------
    job : names the files
    shape : what RELION's sizes and padding ask for, such as (2n, 2n, n + 1); half-complex, FFT order
    """

    job: Job
    shape: tuple[int, ...]

    def weight(self, planes: slice = EVERY_PLANE) -> npt.NDArray[np.float32]:
        """Return the weights, or some planes of their first axis."""
        return self._read(self.job.weight, planes)

    def data_real(self, planes: slice = EVERY_PLANE) -> npt.NDArray[np.float32]:
        """Return the real part of the data, likewise."""
        return self._read(self.job.data_real, planes)

    def data_imag(self, planes: slice = EVERY_PLANE) -> npt.NDArray[np.float32]:
        """Return the imaginary part of the data, likewise."""
        return self._read(self.job.data_imag, planes)

    def _read(self, path: Path, planes: slice) -> npt.NDArray[np.float32]:
        file = self._files[path]
        if len(self.shape) == 2 and len(file.shape) == 3:  # it may come as one section of a 3D file
            image: npt.NDArray[np.float32] = file.read(EVERY_PLANE)[0]
            return image[planes]
        return file.read(planes)

    @cached_property
    def _files(self) -> dict[Path, Planes]:
        """All three, opened before the first is read: minutes may lie between them."""
        job = self.job
        return {path: self._opened(path) for path in (job.weight, job.data_real, job.data_imag)}

    def _opened(self, path: Path) -> Planes:
        if not path.is_file():
            raise MapError(
                f"{path}: no such file; paths in the STAR file count from the folder where RELION was started."
            )
        file = Planes(path)
        if file.shape not in (self.shape, (1, *self.shape)[-3:]):
            found, wanted = ("×".join(map(str, shape)) for shape in (file.shape, self.shape))
            raise MapError(
                f"{path}: {found} points, but images of {self.job.original_size} px with padding "
                f"{self.job.padding_factor:g} have {wanted} (z, y, x); "
                "the file belongs to another refinement, or is damaged."
            )
        return file
