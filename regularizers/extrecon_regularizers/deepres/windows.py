"""What the network is shown: windows of unit norm, and how much of their variance lies in which band.

Both are made for all voxels at once, by Fourier transforms, and neither depends on a map's grey scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

Array = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complexfloating]

MEAN_SIGMA_VOXELS = 6.0
"""The mean under a Gaussian of this width is subtracted: a map's offset and large-scale shading tell nothing."""

NORM_SIGMA_VOXELS = 4.0
"""About the standard deviation of a box of 13 voxels, the window of Ramírez-Aportela et al. (2019)."""

SMOOTH_SIGMA_VOXELS = 1.5
NORM_FLOOR = 0.02
"""As a share of the map's largest local norm: empty solvent is not to be blown up."""

WIDE_BANDS = (16.0, 12.0, 9.3, 7.4, 6.0, 4.9, 4.0, 3.3, 2.75, 2.3)
NARROW_BANDS = tuple(float(period) for period in np.geomspace(16.0, 2.15, 20))
"""Periods, voxels.

Narrow bands tell where a spectrum ends, whatever the fold that it is of: at 5 Å β strands look finer than helices.
Filters so sharp reach far; wide bands tell where in the map that is.
"""

BANDS = len(WIDE_BANDS) + len(NARROW_BANDS)

_LEAST_SHARE = 1e-6
_BLOCK = 2
_COARSE_PERIOD_VOXELS = 6.0
"""The square of a band as coarse as this keeps, on blocks, clear of the frequencies that are averaged over."""


@dataclass(frozen=True)
class Inputs:
    """What the network is shown of a map.

    Attributes
    ----------
    windows : (2, n, n, n) the map and a smoothed version, each over its own local norm
    bands : (30, n/2, n/2, n/2) scaled logarithms of the bands' shares of the local variance, on blocks of 2³ voxels
    """

    windows: Array
    bands: Array


def look_at(density: npt.NDArray[np.floating], threads: int = 1) -> Inputs:
    """Return what the network is shown of a map.

    The smoothed version keeps coarse detail visible where white noise, far beyond it, makes up most of the norm.

    Parameters
    ----------
    density : (n, n, n) map, axes z, y, x, n even; it is taken to repeat itself beyond the box
    threads : for the transforms
    """
    shape = density.shape
    spectrum = scipy.fft.rfftn(np.asarray(density, dtype=np.float32), workers=threads)
    fine = _Transform(spectrum, _octaves(shape), shape)
    coarse = _on_blocks(fine)
    bands = np.empty((BANDS, *coarse.shape), dtype=np.float32)
    _show_bands(bands[: len(WIDE_BANDS)], WIDE_BANDS, fine, coarse, threads)
    _show_bands(bands[len(WIDE_BANDS) :], NARROW_BANDS, fine, coarse, threads)
    spectrum *= 1.0 - _gaussian(shape, MEAN_SIGMA_VOXELS)
    windows = np.empty((2, *shape), dtype=np.float32)
    windows[0] = scipy.fft.irfftn(spectrum, s=shape, workers=threads)
    spectrum *= _gaussian(shape, SMOOTH_SIGMA_VOXELS)
    windows[1] = scipy.fft.irfftn(spectrum, s=shape, workers=threads)
    for number in range(len(windows)):
        norm = np.sqrt(_averaged(windows[number] ** 2, NORM_SIGMA_VOXELS, threads))
        windows[number] /= norm + _floor(norm, NORM_FLOOR)
    return Inputs(windows, bands)


@dataclass(frozen=True)
class _Transform:
    """A real transform, log2 of the frequency (cycles a voxel of the map) on its points, and its grid's shape."""

    spectrum: Spectrum
    octaves: Array
    shape: tuple[int, ...]

    def band(self, centre: np.float32, width: np.float32, threads: int) -> Array:
        """Return what lies in a triangle of frequencies, octaves."""
        gain = np.clip(1.0 - np.abs(self.octaves - centre) / width, 0.0, None)
        found: Array = scipy.fft.irfftn(self.spectrum * gain, s=self.shape, workers=threads)
        return found


def _show_bands(
    bands: Array, periods: tuple[float, ...], fine: _Transform, coarse: _Transform, threads: int
) -> None:
    """Fill in the logarithm of each band's share of the local variance, shifted and scaled to some ±1."""
    centres = -np.log2(np.array(periods, dtype=np.float32))
    width = (centres[-1] - centres[0]) / (len(centres) - 1)
    for number, centre in enumerate(centres):
        on_blocks = periods[number] >= _COARSE_PERIOD_VOXELS
        squares = (coarse if on_blocks else fine).band(centre, width, threads) ** 2
        squares = squares if on_blocks else _by_blocks(squares)
        bands[number] = _averaged(squares, NORM_SIGMA_VOXELS / _BLOCK, threads)
    total = bands.sum(axis=0)
    total += _floor(total, NORM_FLOOR**2)
    bands /= total
    bands += np.float32(_LEAST_SHARE)
    np.log(bands, out=bands)
    bands /= 4
    bands += np.float32(0.75)


def _octaves(shape: tuple[int, ...]) -> Array:
    """Return log2 of the frequency, cycles a voxel, on the points of a real transform."""
    axes = [scipy.fft.fftfreq(n) for n in shape[:-1]] + [scipy.fft.rfftfreq(shape[-1])]
    z, y, x = (axis.astype(np.float32) ** 2 for axis in axes)
    found: Array = 0.5 * np.log2(z[:, None, None] + y[:, None] + x + np.float32(1e-12))
    return found


def _on_blocks(fine: _Transform) -> _Transform:
    """Return the transform of a map at the middles of blocks of 2³ voxels, without what these cannot hold."""
    shape = tuple(n // _BLOCK for n in fine.shape)
    orders = [np.rint(scipy.fft.fftfreq(m) * m).astype(int) for m in shape[:-1]] + [np.arange(shape[-1] // 2 + 1)]
    kept = fine.spectrum[np.ix_(*(order % n for order, n in zip(orders, fine.shape, strict=True)))]
    for axis, (order, n) in enumerate(zip(orders, fine.shape, strict=True)):
        along = np.exp(1j * np.pi * order / n).astype(np.complex64)  # by half a voxel
        kept *= along.reshape(-1, *[1] * (len(shape) - 1 - axis))
    kept /= np.float32(_BLOCK ** len(shape))
    return _Transform(kept, _octaves(shape) - np.log2(_BLOCK, dtype=np.float32), shape)


def _by_blocks(values: Array) -> Array:
    """Return the means of blocks of 2³ voxels: an axis at a time, ten times as fast as one mean over three axes."""
    pairs = values[:, :, ::2] + values[:, :, 1::2]
    squares = pairs[:, ::2] + pairs[:, 1::2]
    blocks: Array = (squares[::2] + squares[1::2]) * np.float32(1 / 8)
    return blocks


def _averaged(values: Array, sigma_voxels: float, threads: int) -> Array:
    """Return the mean of values that are 0 or more under a Gaussian."""
    spectrum = scipy.fft.rfftn(values, workers=threads)
    spectrum *= _gaussian(values.shape, sigma_voxels)
    averaged: Array = np.maximum(scipy.fft.irfftn(spectrum, s=values.shape, workers=threads), 0.0)
    return averaged


def _floor(values: Array, share: float) -> np.float32:
    highest = float(values.max())
    return np.float32(share * highest if highest > 0.0 else 1.0)


def _gaussian(shape: tuple[int, ...], sigma_voxels: float) -> Array:
    """Return the transform of a Gaussian of unit sum, on the points of a real transform."""
    axes = [scipy.fft.fftfreq(n) for n in shape[:-1]] + [scipy.fft.rfftfreq(shape[-1])]
    along = [np.exp(-2.0 * (np.pi * sigma_voxels * axis) ** 2).astype(np.float32) for axis in axes]
    product: Array = along[0][:, None, None] * along[1][:, None] * along[2]
    return product
