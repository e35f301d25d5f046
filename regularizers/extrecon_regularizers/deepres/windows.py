"""What the network is shown: windows of unit norm, and how much of their variance lies in which band.

Both are made for all voxels at once, by Fourier transforms, and neither depends on a map's grey scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

Array = npt.NDArray[np.float32]

MEAN_SIGMA_VOXELS = 6.0
"""The mean under a Gaussian of this width is subtracted: a map's offset and large-scale shading tell nothing."""

NORM_SIGMA_VOXELS = 4.0
"""About the standard deviation of a box of 13 voxels, the window of Ramírez-Aportela et al. (2019)."""

SMOOTH_SIGMA_VOXELS = 1.5
NORM_FLOOR = 0.02
"""As a share of the map's largest local norm: empty solvent is not to be blown up."""

BAND_PERIODS_VOXELS = (16.0, 12.0, 9.3, 7.4, 6.0, 4.9, 4.0, 3.3, 2.75, 2.3)
_LEAST_SHARE = 1e-6
_BLOCK = 2


@dataclass(frozen=True)
class Inputs:
    """What the network is shown of a map.

    Attributes
    ----------
    windows : (2, n, n, n) the map and a smoothed version, each over its own local norm
    bands : (10, n/2, n/2, n/2) scaled logarithms of the bands' shares of the local variance, on blocks of 2³ voxels
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
    bands = _bands(spectrum, shape, threads)
    spectrum *= 1.0 - _gaussian(shape, MEAN_SIGMA_VOXELS)
    windows = np.empty((2, *shape), dtype=np.float32)
    windows[0] = scipy.fft.irfftn(spectrum, s=shape, workers=threads)
    spectrum *= _gaussian(shape, SMOOTH_SIGMA_VOXELS)
    windows[1] = scipy.fft.irfftn(spectrum, s=shape, workers=threads)
    for number in range(len(windows)):
        norm = np.sqrt(_averaged(windows[number] ** 2, NORM_SIGMA_VOXELS, threads))
        windows[number] /= norm + _floor(norm, NORM_FLOOR)
    return Inputs(windows, bands)


def _bands(spectrum: npt.NDArray[np.complexfloating], shape: tuple[int, ...], threads: int) -> Array:
    """Return the logarithm of each band's share of the local variance, shifted and scaled to some ±1."""
    axes = [scipy.fft.fftfreq(n) for n in shape[:-1]] + [scipy.fft.rfftfreq(shape[-1])]
    z, y, x = (axis.astype(np.float32) ** 2 for axis in axes)
    octaves = 0.5 * np.log2(z[:, None, None] + y[:, None] + x + np.float32(1e-12))
    centres = -np.log2(np.array(BAND_PERIODS_VOXELS))
    power = np.empty((len(centres), *(n // _BLOCK for n in shape)), dtype=np.float32)
    for number, centre in enumerate(centres):
        width = (centres[-1] - centres[0]) / (len(centres) - 1)
        gain = np.clip(1.0 - np.abs(octaves - np.float32(centre)) / np.float32(width), 0.0, None)
        band = scipy.fft.irfftn(spectrum * gain, s=shape, workers=threads)
        power[number] = _averaged(_by_blocks(band * band), NORM_SIGMA_VOXELS / _BLOCK, threads)
    total = power.sum(axis=0)
    share = power / (total + _floor(total, NORM_FLOOR**2))
    scaled: Array = np.log(share + np.float32(_LEAST_SHARE)) / 4 + np.float32(0.75)
    return scaled


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
