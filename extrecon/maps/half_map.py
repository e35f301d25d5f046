"""The half-map type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError

FloatArray = npt.NDArray[np.floating[Any]]


def count_not_finite(values: FloatArray) -> int:
    """Return how many values are NaN or infinite.

    In one pass where there are none: the sum of finite float32 values, taken in double precision, is finite.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return 0
    return int(values.size - np.isfinite(values).sum())


@dataclass(frozen=True)
class HalfMap:
    """One reconstructed map: density on a cubic grid, and how large a voxel is.

    Attributes
    ----------
    density : (n, n, n) float array, axes z, y, x; the particle's origin is at voxel ``n // 2``
    pixel_size_angstrom : edge of a voxel, Å
    origin_angstrom : MRC header origin x, y, z, Å; kept so that a result overlays its input in a viewer
    start_voxel : index of the first voxel along x, y, z (MRC header nxstart, nystart, nzstart where columns run
        along x), kept for the same reason
    notes : sentences for the user on what was odd about the file it was read from
    """

    density: FloatArray
    pixel_size_angstrom: float
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)
    start_voxel: tuple[int, int, int] = (0, 0, 0)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.density.shape
        if len(shape) != 3 or len(set(shape)) != 1:
            raise MapError(f"A half-map must be a cube, but this one is {'×'.join(map(str, shape))} voxels.")
        if not (np.isfinite(self.pixel_size_angstrom) and self.pixel_size_angstrom > 0):
            raise MapError(f"The pixel size must be above 0 Å, not {self.pixel_size_angstrom}.")

    @property
    def box(self) -> int:
        """Edge length in voxels."""
        return int(self.density.shape[0])

    @property
    def nyquist_angstrom(self) -> float:
        """Finest resolution the grid can hold, Å."""
        return 2.0 * self.pixel_size_angstrom

    def mean_with(self, other: HalfMap) -> HalfMap:
        """Return the mean of this half-map and the other, which is on the same grid."""
        return self.with_density(np.asarray((self.density + other.density) / 2))

    def with_density(self, density: FloatArray) -> HalfMap:
        """Return the same map frame around another density."""
        return replace(self, density=density)
