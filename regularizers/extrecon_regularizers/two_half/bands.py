"""The bands that a map is taken apart into, and the grids that are fine enough for each.

A band is a radial filter g that rises and falls by a quarter of a sine over the logarithm of the frequency, so that
Σ g² = 1. A map filtered with g, changed, filtered with g once more and summed over the bands is itself again where
nothing was changed; what weights from 0 to 1 do in between is symmetric and raises no Fourier shell's share of the
map's power above what it was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from extrecon.fourier.block_transform import radial_table
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import full_axis, squared_radius

Values = npt.NDArray[np.float64]

COARSEST_SHELL = 3.0
"""The centre of the first band: windows for anything coarser would be as wide as the box."""
RATIO = 1.25
"""Of the frequencies of neighbouring bands."""
_GRID_FOR_SQUARES = 3.0  # points for each frequency: the square's low frequencies come through without aliasing


@dataclass(frozen=True)
class Band:
    """One band of a box.

    Attributes
    ----------
    centre : Fourier shell at which g is 1
    last : the last frequency along any axis, Fourier pixels, that it holds
    grid : edge of the cube of points that is fine enough for it and its square
    table : (3 (box // 2)² + 1,) g at the squared frequencies, see `radial_table`
    """

    centre: float
    last: int
    grid: int
    table: Values


def bands_of(box: int) -> list[Band]:
    """Return a box's bands from `COARSEST_SHELL` to beyond Nyquist; what is coarser than the first is in none."""
    steps = max(math.ceil(math.log(max(box / 2 / COARSEST_SHELL, 1.0)) / math.log(RATIO)), 0)
    return [_band(box, step, steps) for step in range(steps + 1)]


def below_bands(box: int) -> Values:
    """Return the filter of what is coarser than all bands, as g² is of a band."""
    return radial_table(box, lambda frequency: 1.0 - _rise(box * frequency, -1) ** 2)


def _band(box: int, step: int, steps: int) -> Band:
    def gain(frequency: Values) -> Values:
        rise = _rise(box * frequency, step - 1)
        return rise if step == steps else rise * np.sqrt(1.0 - _rise(box * frequency, step) ** 2)

    centre = COARSEST_SHELL * RATIO**step
    last = box // 2 if step == steps else min(math.ceil(centre * RATIO) - 1, box // 2)
    even = 2 * scipy.fft.next_fast_len(math.ceil((_GRID_FOR_SQUARES * last + 2) / 2), real=True)
    return Band(centre, last, min(even, box), radial_table(box, gain))


def _rise(shell: Values, step: int) -> Values:
    """Return the quarter sine that leads from one band's centre, 0, to the next one's, 1."""
    with np.errstate(divide="ignore"):
        beyond = np.log(shell / COARSEST_SHELL) / math.log(RATIO) - step
    return np.asarray(np.sin(0.5 * np.pi * np.clip(beyond, 0.0, 1.0)))


class BandGrid:
    """One band's transforms between a box's half-complex spectrum and the band's own grid."""

    def __init__(self, band: Band, box: int, compute: Compute) -> None:
        self.band, self.box, self.compute = band, box, compute
        self.whole = band.grid == box
        n = band.grid
        full, half = (compute.to_device(axis) for axis in (full_axis(n), np.arange(n // 2 + 1)))
        self._axes = [full, full, half]
        self._squared = squared_radius(self._axes)
        table = compute.to_device(band.table, np.float32)
        self._gain = table[self._squared]

    def filtered(self, spectrum: Array) -> Array:
        """Return the voxels, (m, m, m), of the band of a spectrum, in the map's grey scale."""
        part = spectrum + 0 if self.whole else self._cropped(spectrum)
        part *= self._gain * np.float32((self.band.grid / self.box) ** 3)
        return self._real(part)

    def add_filtered(self, voxels: Array, total: Array) -> None:
        """Filter voxels with the band and add the spectrum to that of the box."""
        part = self.compute.rfftn(voxels, axes=(0, 1, 2))
        part *= self._gain * np.float32((self.box / self.band.grid) ** 3)
        if self.whole:
            total += part
            return
        for theirs, ours in self._corners():
            total[theirs] += part[ours]

    def window_px(self, window: float) -> float:
        """Return a window given in units of the band's resolution in px of the box."""
        return window * self.box / self.band.centre

    def smoothed(self, voxels: Array, sigma_px: float) -> Array:
        """Return voxels under a Gaussian of this standard deviation, px of the box; cyclic."""
        xp = self.compute.xp
        spectrum = self.compute.rfftn(voxels, axes=(0, 1, 2))
        falls = xp.exp(self._squared * (-2.0 * (np.pi * sigma_px / self.box) ** 2))
        spectrum *= xp.astype(falls, xp.float32)
        return self._real(spectrum)

    def _real(self, spectrum: Array) -> Array:
        return self.compute.irfftn(spectrum, shape=(self.band.grid,) * 3, axes=(0, 1, 2))

    def _cropped(self, spectrum: Array) -> Array:
        n = self.band.grid
        part = self.compute.zeros_like(spectrum, (n, n, n // 2 + 1))
        for theirs, ours in self._corners():
            part[ours] = spectrum[theirs]
        return part

    def _corners(self) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Yield the four parts of the band's frequencies, as slices of the box's spectrum and of the band's."""
        top = self.band.last + 1
        low = (slice(0, top), slice(0, top))
        high = tuple(slice(size - top + 1, size) for size in (self.box, self.band.grid))
        for z, y in itertools.product((low, high), repeat=2):
            yield (z[0], y[0], slice(0, top)), (z[1], y[1], slice(0, top))
