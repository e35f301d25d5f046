"""What a half-map was made from, in Fourier space, for who wants to weigh a density against it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse

from extrecon.fourier.compute import cpu
from extrecon.fourier.grids import full_axis
from extrecon.fourier.shells import Shells
from extrecon.reconstruction.grid import Accumulators, Geometry


@dataclass(frozen=True)
class FourierData:
    """A half-map's accumulators, read only when they are asked for.

    Attributes
    ----------
    accumulators : data and weights, (pn, pn, pn // 2 + 1) in FFT order
    geometry : n, padding p, and how far the images reach
    tau2 : (n // 2 + 1,) expected signal power per shell, in the accumulators' unit |F|² / n⁴; None if unknown
    tau2_fudge : RELION's T
    """

    accumulators: Accumulators
    geometry: Geometry
    tau2: npt.NDArray[np.float64] | None
    tau2_fudge: float

    def weight(self) -> npt.NDArray[np.float32]:
        """Return the data's weight W at each point of the map's own spectrum, (n, n, n // 2 + 1).

        Each is the mean of the padded grid about it under a triangle of half-width p: cutting the padded image down
        to the map mixes just these points. 1 / (p³ W) is the power of the noise there.
        """
        n, padding = self.geometry.original_size, self.geometry.padding_factor
        size, _, columns = self.geometry.accumulator_shape
        half, mirrored = _triangle(np.arange(n // 2 + 1), padding, columns, wraps=False)
        full, _ = _triangle(full_axis(n), padding, size, wraps=True)
        thick = np.empty((size, n, n // 2 + 1), np.float32)
        opposite = np.zeros((size, size), np.float32)

        def along_y_and_x(planes: slice) -> None:
            for index, plane in enumerate(self.accumulators.weight(planes), planes.start):
                thick[index] = full @ (half @ plane.T).T
                for column, share in mirrored:
                    opposite[index] += share * plane[:, column]

        def along_z(rows: slice) -> None:
            taken = thick[:, rows]
            weight[:, rows] = (full @ taken.reshape(size, -1)).reshape(n, *taken.shape[1:])

        cpu().over_slabs(along_y_and_x, size, row_bytes=4 * size * columns)
        weight = np.empty((n, n, n // 2 + 1), np.float32)
        cpu().over_slabs(along_z, n, row_bytes=4 * size * (n // 2 + 1))
        # What lies at negative columns, by the points opposite.
        weight[..., 0] += full @ (full @ _friedel(opposite).T).T
        return weight

    def noise_power(self) -> npt.NDArray[np.float64]:
        """Return the noise's mean power per point of each shell, (n // 2 + 1,), in the unit of ``tau2``.

        It is 1 / (p³ ⟨W⟩): infinite where nothing was measured.
        """
        weight, shells = self.weight(), Shells(self.geometry.original_size, cpu())
        mean = shells.sums(lambda slab: weight[slab]) / shells.points()
        noise: npt.NDArray[np.float64] = np.full(mean.size, np.inf)
        return np.divide(1.0, self.geometry.volume_factor * mean, out=noise, where=mean > 0)


Mirrored = list[tuple[int, float]]


def _triangle(
    frequencies: npt.NDArray[np.int64], padding: float, columns: int, *, wraps: bool
) -> tuple[scipy.sparse.csr_array, Mirrored]:
    """Return the matrix that averages a padded axis about each frequency, and what lies at negative columns."""
    reach = math.ceil(padding) - 1
    entries: list[tuple[int, int, float]] = []
    mirrored: Mirrored = []
    for row, frequency in enumerate(frequencies):
        centre = padding * float(frequency)
        points = np.arange(math.ceil(centre) - reach - 1, math.floor(centre) + reach + 2)
        shares = np.maximum(1.0 - np.abs(points - centre) / padding, 0.0)
        for point, share in zip(points, shares / shares.sum(), strict=True):
            if share > 0 and (wraps or 0 <= point < columns):
                entries.append((row, int(point) % columns, float(share)))
            elif share > 0 and point < 0:
                mirrored.append((-int(point), float(share)))
    rows, at, values = zip(*entries, strict=True)
    matrix = scipy.sparse.csr_array((np.asarray(values, np.float32), (rows, at)), shape=(frequencies.size, columns))
    return matrix, mirrored


def _friedel(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the plane at the opposite frequencies: F(−k) has the weight of F(k)."""
    return np.roll(plane[::-1, ::-1], 1, axis=(0, 1))
