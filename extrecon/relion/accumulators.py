"""The three MRC files that hold a half-map's Fourier accumulators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError
from extrecon.maps import read_volume
from extrecon.relion.job import Job


@dataclass(frozen=True)
class AccumulatorFiles:
    """Reads each accumulator when it is asked for, and keeps none.

    Attributes
    ----------
    job : names the files
    shape : what RELION's sizes and padding ask for, such as (2n, 2n, n + 1); half-complex, FFT order
    """

    job: Job
    shape: tuple[int, ...]

    def weight(self) -> npt.NDArray[np.float32]:
        """Return the weights."""
        return self._read(self.job.weight)

    def data_real(self) -> npt.NDArray[np.float32]:
        """Return the real part of the data."""
        return self._read(self.job.data_real)

    def data_imag(self) -> npt.NDArray[np.float32]:
        """Return the imaginary part of the data."""
        return self._read(self.job.data_imag)

    def _read(self, path: Path) -> npt.NDArray[np.float32]:
        if not path.is_file():
            raise MapError(
                f"{path}: no such file; paths in the STAR file count from the folder where RELION was started."
            )
        values = read_volume(path)
        # A 2D accumulator may come as one section of a 3D file.
        if values.shape != self.shape and values.shape == (1, *self.shape):
            values = values[0]
        if values.shape != self.shape:
            found, wanted = ("×".join(map(str, shape)) for shape in (values.shape, self.shape))
            raise MapError(
                f"{path}: {found} points, but images of {self.job.original_size} px with padding "
                f"{self.job.padding_factor:g} have {wanted} (z, y, x); "
                "the file belongs to another refinement, or is damaged."
            )
        return values
