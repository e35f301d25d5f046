"""The FSC of two maps inside a window around each point, from band-pass filtered products."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import full_axis, squared_radius, window_full_axis, window_half_axis

FloatArray = npt.NDArray[np.float32]

_POINTS_PER_BANDWIDTH = 4
_BANDWIDTH = 2.05  # of the window, in the box's shells times box / window: there its spectrum is down to 0.001
_LEAST = 1e-30


@dataclass(frozen=True)
class Bands:
    """The shells that a window can tell apart, and the lattice on which the local FSC is known.

    A cubic window of edge w has shells 1 / w wide; bands of that width (half a cosine squared, full width at half
    maximum) stand half a width apart, so that a crossing can be interpolated.

    Attributes
    ----------
    box : edge of the maps, voxels
    window_px : edge w of the cubic window
    centres : the bands' middles, in shells of the box, from 1 / w up to the last shell
    last_shell : the finest that is asked
    """

    box: int
    window_px: float
    centres: npt.NDArray[np.float64]
    last_shell: int

    @property
    def width(self) -> float:
        """The bands' width, in shells of the box."""
        return self.box / self.window_px

    @property
    def bandwidth(self) -> int:
        """The last frequency that the window's spectrum holds, in shells of the box."""
        return min(math.ceil(_BANDWIDTH * self.width), self.box // 2 - 1)

    @property
    def lattice(self) -> int:
        """Points along each edge of the lattice, which begins at voxel 0 and divides the box evenly."""
        return min(_even(_POINTS_PER_BANDWIDTH * self.bandwidth), self.box)


def bands_for(box: int, window_px: float, last_shell: int) -> Bands:
    """Return the bands of a box for a window, up to the last shell that is asked."""
    window = float(min(max(window_px, 4.0), box))
    width = box / window
    steps = max(math.floor(2 * (last_shell / width - 1) + 1e-9), 0)
    return Bands(box, window, width * (1 + 0.5 * np.arange(steps + 1, dtype=np.float64)), last_shell)


def local_correlations(
    spectra: list[Array], pairs: list[tuple[int, int]], bands: Bands, compute: Compute
) -> Iterator[list[FloatArray]]:
    """Yield, band by band, the local FSC of each pair of maps on the lattice, (m, m, m).

    In a band, x and y being the two maps' filtered voxels, ⟨xy⟩ / √(⟨x²⟩⟨y²⟩), ⟨ ⟩ the mean under a Gaussian with
    the second moment of the cubic window, w² / 12 along each axis. By Parseval's theorem this is the FSC of the
    windowed maps over one of the window's shells, but for the order of windowing and filtering: they commute up to
    the window's own bandwidth, which the soft band is as wide as. The moving box of Cardone, Heymann & Steven,
    J. Struct. Biol. 184, 226 (2013), windows first.

    Parameters
    ----------
    spectra : half-complex transforms of the maps, (n, n, n // 2 + 1)
    pairs : which two maps each FSC is of
    """
    for centre in bands.centres:
        grid = _BandGrid(bands, float(centre), compute)
        voxels = [grid.filtered(spectrum) for spectrum in spectra]
        wanted = {(a, b) for pair in pairs for a, b in (pair, pair[:1] * 2, pair[1:] * 2)}
        means = {pair: grid.smoothed(voxels[pair[0]] * voxels[pair[1]]) for pair in wanted}
        yield [_normalised(means[a, b], means[a, a], means[b, b]) for a, b in pairs]


def _normalised(cross: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    norm = np.sqrt(np.clip(first, 0.0, None) * np.clip(second, 0.0, None))
    told = norm > _LEAST
    return np.clip(np.divide(cross, norm, out=np.zeros_like(cross), where=told), -1.0, 1.0)


class _BandGrid:
    """One band on a grid that is fine enough for the low frequencies of its products."""

    def __init__(self, bands: Bands, centre: float, compute: Compute) -> None:
        self._bands, self._compute = bands, compute
        last = min(math.ceil(centre + bands.width) - 1, bands.box // 2)
        self.size = min(_even(2 * last + bands.bandwidth + 2), bands.box)
        full, half = full_axis(self.size), np.arange(self.size // 2 + 1)
        radius = np.sqrt(squared_radius([full, full, half]).astype(np.float64))
        beyond = np.clip(np.abs(radius - centre) / bands.width, 0.0, 1.0)
        gain = np.cos(0.5 * np.pi * beyond) * (radius <= bands.box // 2)
        self._gain = compute.to_device(gain, np.float32)
        self._falls = compute.to_device(_window_spectrum(bands), np.float32)

    def filtered(self, spectrum: Array) -> Array:
        """Return the band of a map, (size, size, size), in an arbitrary but common grey scale."""
        part = spectrum if self.size == self._bands.box else self._resized(spectrum, self.size // 2, self.size)
        return self._compute.irfftn(part * self._gain, shape=(self.size,) * 3, axes=(0, 1, 2))

    def smoothed(self, product: Array) -> FloatArray:
        """Return a product's mean under the window, on the lattice."""
        spectrum = self._compute.rfftn(product, axes=(0, 1, 2))
        lattice = self._bands.lattice
        low = self._resized(spectrum, self._bands.bandwidth + 1, lattice) * self._falls
        mean = self._compute.irfftn(low, shape=(lattice,) * 3, axes=(0, 1, 2))
        return np.asarray(self._compute.to_numpy(mean), dtype=np.float32)

    def _resized(self, spectrum: Array, radius: int, length: int) -> Array:
        for axis in (0, 1):
            spectrum = window_full_axis(spectrum, axis, radius, length, self._compute)
        return window_half_axis(spectrum, 2, radius, length // 2 + 1, self._compute)


def _window_spectrum(bands: Bands) -> npt.NDArray[np.float64]:
    """Return the Gaussian window's spectrum on the lattice's half-complex grid."""
    m = bands.lattice
    squared = squared_radius([full_axis(m), full_axis(m), np.arange(m // 2 + 1)])
    variance = bands.window_px**2 / 12
    falls: npt.NDArray[np.float64] = np.exp(-2.0 * np.pi**2 * variance * squared / bands.box**2)
    return falls


def _even(least: int) -> int:
    return 2 * scipy.fft.next_fast_len(math.ceil(least / 2), real=True)
