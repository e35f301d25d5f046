"""What the network sees: a map whose grey scale, sharpening and box no longer matter.

A half-map's Fourier shells are scaled to a standard profile: as they are up to 1/12 Å⁻¹, constant beyond, with a
Gaussian decay that follows the resolution. So it does not matter whether the map comes sharpened, blurred or
weighted by a MAP term. The FSC tells which share c of a shell's power is signal. Two versions are made:
Wiener-filtered, whose signal has c times the standard amplitude, and unfiltered, whose signal and noise together
have the standard amplitude. Both are divided by one number, an amplitude that only what rises above the solvent
determines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.masks import EDGE_PX, radius_px, soft_sphere
from extrecon.fourier.resolution import ONE_SEVENTH, resolution_of_first_under
from extrecon.fourier.shells import Shells, power
from extrecon.maps.half_map import FloatArray
from extrecon_regularizers.cnn.resample import resampled

Curve = npt.NDArray[np.float64]

COARSEST = 8
VOXELS_PER_RESOLUTION = 3.0
COARSEST_PIXEL_ANGSTROM = 4.0
SMALLEST_BOX = 24
LARGEST_TILE = 160
"""Edge of what the network takes at once; it costs half a gigabyte."""
_FLAT_FROM_PER_ANGSTROM = 1 / 12
_DECAY = 1.2  # the standard amplitude falls to exp(-1.2) at the resolution
_SOLVENT_FROM, _SOLVENT_TO = 0.4, 0.5  # of the box
_REFERENCE_PIXEL_ANGSTROM = 2.0
_CONTRAST = 3.0  # of the particle in the inputs; the whole box then has a deviation of about a half


@dataclass(frozen=True)
class Standardised:
    """A half-map as the network takes it.

    Attributes
    ----------
    inputs : (2, m, m, m) float32, Wiener-filtered and unfiltered; axes z, y, x
    condition : (2,) log2 of pixel size / 2 Å and of resolution / (3 pixel sizes)
    amplitude : (m // 2 + 1,) the standard amplitude of each shell, by which a truth is scaled like the inputs
    unit : the number that was divided by
    """

    inputs: npt.NDArray[np.float32]
    condition: npt.NDArray[np.float32]
    amplitude: Curve
    unit: float


def working_box(box: int, pixel_size_angstrom: float, resolution_angstrom: float) -> int:
    """Return the edge, a multiple of 8, of the grid to work on: some three voxels to the resolution.

    Voxels are no finer than the half-map's, unless those are coarser than 4 Å.
    """
    coarsest_pixel = max(
        min(pixel_size_angstrom, COARSEST_PIXEL_ANGSTROM), resolution_angstrom / VOXELS_PER_RESOLUTION
    )
    wanted = max(box * pixel_size_angstrom / coarsest_pixel, SMALLEST_BOX)
    return int(COARSEST * np.ceil(wanted / COARSEST - 1e-9))


def resolution(fsc: Curve, box: int, pixel_size_angstrom: float) -> float:
    """Return where the FSC first falls under 1/7, Å; twice the pixel size if it does not."""
    return resolution_of_first_under(fsc, box, pixel_size_angstrom, ONE_SEVENTH)


def signal_share(fsc: Curve) -> Curve:
    """Return the FSC smoothed over three shells and kept between 0 and 1."""
    padded = np.concatenate([fsc[:1], fsc, fsc[-1:]])
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    smooth[:2] = np.maximum(smooth[:2], fsc[:2])
    share: Curve = np.clip(smooth, 0.0, 0.9999)
    return share


def standardise(
    density: FloatArray, fsc: Curve, pixel_size_angstrom: float, compute: Compute, threads: int = 1
) -> Standardised:
    """Return what the network takes for a half-map.

    Parameters
    ----------
    density : (n, n, n) array, axes z, y, x
    fsc : (n // 2 + 1,) half-map FSC
    pixel_size_angstrom : of the half-map
    compute : where to work
    threads : for resampling
    """
    n = len(density)
    finest = resolution(fsc, n, pixel_size_angstrom)
    box = working_box(n, pixel_size_angstrom, finest)
    pixel_size = n * pixel_size_angstrom / box
    values = resampled(without_corners(density), box, threads)
    shells = Shells(box, compute)
    spectrum = shells.spectrum(values)
    share = _on_shells(signal_share(fsc), shells.count)
    mean_power = mean_powers(spectrum, shells)
    signal = np.sqrt(mean_power * share)
    amplitude = standard_amplitude(signal, np.arange(shells.count) / (box * pixel_size), finest)
    whole = np.divide(amplitude, np.sqrt(mean_power), out=np.zeros(shells.count), where=mean_power > 0)
    unfiltered = spectrum * 1
    shells.scale(spectrum, whole * np.sqrt(share))
    shells.scale(unfiltered, whole)
    filtered = shells.density(spectrum)
    unit = localized_amplitude(filtered) / _CONTRAST
    inputs = np.stack([filtered, shells.density(unfiltered)]) / np.float32(unit)
    condition = [pixel_size / _REFERENCE_PIXEL_ANGSTROM, finest / (VOXELS_PER_RESOLUTION * pixel_size)]
    return Standardised(inputs, np.log2(condition).astype(np.float32), amplitude / unit, unit)


def like(truth: FloatArray, standard: Standardised, compute: Compute, threads: int = 1) -> npt.NDArray[np.float32]:
    """Return a true map, (n, n, n), on the grid of ``standard`` and with its standard amplitude in each shell."""
    shells = Shells(standard.inputs.shape[1], compute)
    spectrum = shells.spectrum(resampled(without_corners(truth), shells.n, threads))
    mean_power = mean_powers(spectrum, shells)
    gain = np.divide(standard.amplitude, np.sqrt(mean_power), out=np.zeros(shells.count), where=mean_power > 0)
    shells.scale(spectrum, gain)
    return shells.density(spectrum)


def standard_amplitude(signal: Curve, frequency: Curve, finest_angstrom: float) -> Curve:
    """Return each shell's standard amplitude.

    Parameters
    ----------
    signal : (shells,) the signal's amplitude as found
    frequency : (shells,) 1/Å
    finest_angstrom : the resolution
    """
    flat_from = min(_FLAT_FROM_PER_ANGSTROM, 0.7 / finest_angstrom)
    about = (frequency > 0.75 * flat_from) & (frequency < 1.25 * flat_from)
    about[max(1, int(np.searchsorted(frequency, flat_from)) - 1)] = True
    level = float(np.sqrt(np.mean(signal[about] ** 2)))
    decay = np.exp(-_DECAY * np.maximum(frequency**2 - flat_from**2, 0.0) * finest_angstrom**2)
    return np.where(frequency < flat_from, signal, level * decay)


def solvent_level(density: FloatArray) -> float:
    """Return the median between 0.4 and 0.5 boxes from the middle."""
    distance = radius_px(len(density)) / len(density)
    around = (distance > _SOLVENT_FROM) & (distance < _SOLVENT_TO)
    return float(np.median(density[around]))


def without_corners(density: FloatArray) -> npt.NDArray[np.float32]:
    """Return the map above its solvent's level, 0 beyond the sphere that touches the box.

    There RELION writes a constant, which the division by the interpolation kernel's footprint raises manifold.
    """
    n = len(density)
    above: npt.NDArray[np.float32] = (density - solvent_level(density)) * soft_sphere(n, n / 2 - EDGE_PX)
    return above


def localized_amplitude(density: FloatArray) -> float:
    """Return √(Σρ⁴ / Σρ²): a contrast that empty space around the particle does not change."""
    square = np.square(density, dtype=np.float64)
    total = float(square.sum())
    return float(np.sqrt(np.square(square).sum() / total)) if total > 0 else 1.0


def mean_powers(spectrum: Array, shells: Shells) -> Curve:
    """Return the mean of |F|² over each shell."""
    counts = np.maximum(shells.sums(lambda slab: spectrum[slab].real * 0 + 1), 1.0)
    mean: Curve = power(spectrum, shells) / counts
    return mean


def _on_shells(curve: Curve, count: int) -> Curve:
    """Return a curve cut, or continued by its last value, to ``count`` shells: the box's edge in Å is the same."""
    if count <= len(curve):
        return curve[:count]
    return np.append(curve, np.full(count - len(curve), curve[-1]))
