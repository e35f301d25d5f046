"""Each voxel's weight in each band, from its own half-map's local power and the noise that two half-maps tell.

In band b, x being the half-map's part in it and x' the other half's,

    p(r) = ⟨x²⟩ around r                     local power: signal and noise
    n(r) = (x − x')² / 2                     what differs: noise, and signal that one half shows otherwise
    N₀   = mean of n over the inscribed sphere
    e(r) = max(0, ⟨(x + x')² / 2⟩ − N₀)      how far the halves' mean stands out there
    N    = max(N₀, Σ e n / Σ e)              the band's noise power, one number
    w(r) = max(0, 1 − N / p)                 signal power over all power: Wiener's weight

where ⟨ ⟩ is the mean under a Gaussian window as wide as the band's resolution. So noise counts where the map shows
something, in proportion: where the halves show different things, that is noise. Nothing of the other half but N
reaches the weights. Two other choices of N are N₀ alone, and max(N₀, ⟨n⟩ under a window three times as wide) for
noise that differs from place to place. Weights that knew in a narrow window where the halves agree, such as local
correlation coefficients, would pick from noise what agrees by chance: see `two-half.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import full_axis, squared_radius
from extrecon.maps.half_map import FloatArray
from extrecon.maps.solvent import inscribed_sphere
from extrecon_regularizers.two_half.bands import Band, BandGrid, bands_of, below_bands

NoiseOf = Callable[[int, BandGrid, Array], Array]
"""Returns the noise power of band number i from its grid and the half-map's voxels.

One number, or one for each voxel of the band's grid.
"""

Where = Literal["sphere", "particle", "local"]
"""Where noise is told: N₀, N, or around each voxel."""

WIDER_FOR_NOISE = 3.0
"""The window for local noise, in windows for local power: as wide a one would raise noise's own FSC to 0.12."""
_LEAST = 1e-30


@dataclass(frozen=True)
class BandTold:
    """What one band was like.

    Attributes
    ----------
    shell : at the band's centre
    power, noise_power : mean square in the sphere, of the half-map and of the noise in it
    mean_weight : over the sphere
    kept : share of the band's power after the weights
    """

    shell: float
    power: float
    noise_power: float
    mean_weight: float
    kept: float


def filtered_with(
    density: FloatArray,
    noise_of: NoiseOf,
    window: float,
    compute: Compute,
    done: Callable[[float], None] = lambda _: None,
) -> tuple[npt.NDArray[np.float32], list[BandTold]]:
    """Return a half-map with each voxel's bands weighted by their local signal-to-noise ratio.

    Parameters
    ----------
    density : (n, n, n) array, axes z, y, x
    noise_of : tells each band's noise power
    window : standard deviation of the Gaussian window, in units of the band's resolution
    compute : where to work
    done : called with the fraction of the bands that are done
    """
    box = len(density)
    spectrum = compute.rfftn(compute.to_device(density, np.float32), axes=(0, 1, 2))
    total = _coarse_part(spectrum, box, compute)
    told, bands = [], bands_of(box)
    for number, band in enumerate(bands):
        grid = BandGrid(band, box, compute)
        voxels = grid.filtered(spectrum)
        local = local_power(grid, voxels, window)
        noise = noise_of(number, grid, voxels)
        weight = weights(local, noise, compute)
        kept = voxels * weight
        told.append(_told(band, voxels, kept, weight, noise, compute))
        grid.add_filtered(kept, total)
        done((number + 1) / len(bands))
    result = compute.irfftn(total, shape=(box,) * 3, axes=(0, 1, 2))
    return compute.to_numpy(result).astype(np.float32, copy=False), told


def noise_from_other(other: FloatArray, window: float, where: Where, compute: Compute) -> NoiseOf:
    """Return what tells a band's noise power from the difference to the other half-map.

    Parameters
    ----------
    other : (n, n, n) array, the other half-map
    window : as `filtered_with`
    where : see `Where`
    compute : where to work
    """
    spectrum = compute.rfftn(compute.to_device(other, np.float32), axes=(0, 1, 2))

    def noise_of(_: int, grid: BandGrid, voxels: Array) -> Array:
        theirs = grid.filtered(spectrum)
        difference = 0.5 * (voxels - theirs) ** 2
        sphere = _sphere(grid.band, compute)
        everywhere = _sum(difference * sphere, compute) / _sum(sphere, compute)
        if where == "sphere":
            return everywhere
        if where == "local":
            around = grid.smoothed(difference, WIDER_FOR_NOISE * grid.window_px(window))
            return compute.xp.clip(around, everywhere, None)
        # The sum's noise is independent of the difference's: choosing by the one leaves the other as it is.
        summed = grid.smoothed(0.5 * (voxels + theirs) ** 2, grid.window_px(window))
        excess = compute.xp.clip(summed - everywhere, 0.0, None) * sphere
        weighed = _sum(excess * difference, compute) / max(_sum(excess, compute), _LEAST)
        return max(everywhere, weighed)

    return noise_of


def noise_given(powers: Sequence[float]) -> NoiseOf:
    """Return what tells the noise powers that were set by hand, one for each band."""
    return lambda number, _grid, _voxels: powers[number]


def local_power(grid: BandGrid, voxels: Array, window: float) -> Array:
    """Return the mean square of a band's voxels under the window around each of them."""
    return grid.compute.xp.clip(grid.smoothed(voxels**2, grid.window_px(window)), _LEAST, None)


def weights(local: Array, noise: Array, compute: Compute) -> Array:
    """Return the share of signal in the local power, 0 where there is no more than noise."""
    return compute.xp.clip(1.0 - noise / local, 0.0, 1.0)


def _coarse_part(spectrum: Array, box: int, compute: Compute) -> Array:
    """Return the spectrum of what is coarser than all bands, which stays as it is."""
    full = full_axis(box)
    squared = squared_radius([compute.to_device(axis) for axis in (full, full, np.arange(box // 2 + 1))])
    return spectrum * compute.to_device(below_bands(box), np.float32)[squared]


def _sphere(band: Band, compute: Compute) -> Array:
    return compute.to_device(inscribed_sphere(band.grid), np.float32)


def _sum(values: Array, compute: Compute) -> float:
    return float(compute.xp.sum(values, dtype=compute.xp.float64))


def _told(band: Band, voxels: Array, kept: Array, weight: Array, noise: Array, compute: Compute) -> BandTold:
    sphere = _sphere(band, compute)
    inside = _sum(sphere, compute)
    before, after, weights, noises = (_sum(each * sphere, compute) for each in (voxels**2, kept**2, weight, noise))
    share = after / before if before > 0 else 0.0
    return BandTold(band.centre, before / inside, noises / inside, weights / inside, share)
