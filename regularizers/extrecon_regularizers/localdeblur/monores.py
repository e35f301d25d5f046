"""The MonoRes algorithm: local resolution by monogenic amplitudes.

Source: Vilas et al., Structure 2018, 26, 337, with the choices of the program that the authors distribute. At each
resolution, from the worst to the finest, a voxel's amplitude is compared with a quantile of the noise's; where it
fails twice in a row the voxel's resolution is the last that passed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError
from extrecon.fourier.block_transform import radially_filtered
from extrecon.fourier.compute import Compute
from extrecon.fourier.filter_bank import bounding_block
from extrecon.maps.half_map import FloatArray
from extrecon.maps.solvent import masked_map_sentence
from extrecon.regularizer import Progress, no_progress
from extrecon_regularizers.localdeblur.bands import nearest_index
from extrecon_regularizers.localdeblur.monogenic import MonogenicAmplitude, Region, gaussian
from extrecon_regularizers.localdeblur.noise import noise_level, sorted_value

_REFINEMENT_SIGMA = 4.0
_REFINEMENT_QUANTILE = 0.95
_SMOOTHING_SIGMA = 3.0
_CLIFF = 0.01  # a shell with less of the variance of the one before lies where the map was masked
_LIVE_FRACTION = 0.025
_MEAN_FRACTION = 0.001

SIGNAL, NOISE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class MonoResSettings:
    """How to measure.

    Attributes
    ----------
    worst_angstrom : where the sweep starts, Å
    finest_angstrom : where it ends, Å; not below Nyquist
    step_angstrom : Å between levels
    significance : the noise quantile that a voxel must exceed
    gaussian : take the noise's mean and standard deviation in place of its quantile
    refine_mask : leave out mask voxels that look like solvent
    keep_nyquist : False reproduces the reference program, which never assigns the level at Nyquist
    """

    worst_angstrom: float
    finest_angstrom: float = 0.0
    step_angstrom: float = 0.25
    significance: float = 0.95
    gaussian: bool = False
    refine_mask: bool = True
    keep_nyquist: bool = True
    dtype: npt.DTypeLike = np.float32


@dataclass(frozen=True)
class Sweep:
    """What the sweep found.

    Attributes
    ----------
    resolution_angstrom : (n, n, n) array, Å, 0 outside the refined mask
    labels : (n, n, n) array: 1 signal, 0 noise, −1 ignored
    levels_angstrom : the levels tested
    ending : why the sweep ended
    facts : further numbers for the record
    """

    resolution_angstrom: FloatArray
    labels: npt.NDArray[np.int8]
    levels_angstrom: list[float]
    ending: str
    facts: dict[str, Any] = field(default_factory=dict)


def local_resolution(
    volume: FloatArray,
    mask: FloatArray,
    pixel_size_angstrom: float,
    settings: MonoResSettings,
    *,
    compute: Compute,
    noise: FloatArray | None = None,
    progress: Progress = no_progress,
) -> Sweep:
    """Measure the local resolution of a map inside a mask.

    Parameters
    ----------
    volume : (n, n, n) array, axes z, y, x; the mean of two halves if ``noise`` is given
    mask : (n, n, n) array; above 0.5 is the particle
    pixel_size_angstrom : Å
    settings, compute, progress : how, where, and whom to tell
    noise : (n, n, n) array, half the difference of two halves; None: the noise is the volume outside the mask

    Raises
    ------
    RegularizerError : no signal voxel, or no noise voxel, to compare, or a masked map.
    """
    progress("local resolution", 0.0)
    labels, limit = label_voxels(volume, mask)
    levels = sweep_levels(len(volume), pixel_size_angstrom, settings)
    finest_shell = max((shell for shell, _ in levels), default=1)
    amplitude = MonogenicAmplitude(compute, volume, settings.dtype, finest_shell)
    if settings.refine_mask:
        _refine(labels, amplitude, compute)
    signal = labels == SIGNAL
    noise_voxels = labels == NOISE if noise is None else labels >= NOISE
    _check_voxels(signal, noise_voxels, volume if noise is None else noise)
    noise_amplitude = None if noise is None else MonogenicAmplitude(compute, noise, settings.dtype, finest_shell)
    meter = _Meter(amplitude, noise_amplitude, Region(compute, signal), Region(compute, noise_voxels), settings)
    values, used, ending = _sweep(meter, levels, settings, progress)
    resolution = _smoothed(values, signal, compute)
    progress("local resolution", 1.0)
    facts = {"signal_voxels": int(signal.sum()), "noise_voxels": int(noise_voxels.sum()), "radius_limit": limit}
    return Sweep(resolution, labels, used, ending, facts)


def label_voxels(volume: FloatArray, mask: FloatArray) -> tuple[npt.NDArray[np.int8], int]:
    """Return signal, noise and ignored voxels, and the radius (voxels) from which on voxels are ignored."""
    signal = mask > 0.5
    if not signal.any():
        raise RegularizerError("The mask has no voxel above 0.5: there is nothing to measure.")
    labels = signal.astype(np.int8)  # SIGNAL and NOISE
    squared = _SquaredRadius(len(volume))
    farthest = max(int(squared.plane(z)[signal[z]].max(initial=0)) for z in range(len(volume)))
    limit = _cliff(volume, squared, int(np.sqrt(farthest)))
    for z in range(len(volume)):
        labels[z][squared.plane(z) >= limit * limit] = IGNORED
    return labels, limit


class _SquaredRadius:
    """Squared distances from the middle of a box, voxels, plane by plane: whole numbers, exact."""

    def __init__(self, box: int) -> None:
        self._axis = (np.arange(box, dtype=np.int32) - box // 2) ** 2
        self._plane = self._axis[:, None] + self._axis

    def plane(self, z: int) -> npt.NDArray[np.int32]:
        plane: npt.NDArray[np.int32] = self._plane + self._axis[z]
        return plane


def _cliff(volume: FloatArray, squared_radius: _SquaredRadius, first: int) -> int:
    """Return the radius of the first shell beyond ``first`` where a masked map falls to a constant."""
    end = len(volume) // 2
    if first >= end:
        return end
    shell_of = np.sqrt(np.arange(end * end)).astype(np.int64)
    counts, sums, squares = np.zeros((3, end))
    for z, plane in enumerate(volume):
        squared = squared_radius.plane(z)
        kept = (squared >= first * first) & (squared < end * end)
        shell, values = shell_of[squared[kept]], plane[kept].astype(np.float64)
        counts += np.bincount(shell, minlength=end)
        sums += np.bincount(shell, values, minlength=end)
        squares += np.bincount(shell, values * values, minlength=end)
    counts = np.maximum(counts, 1)
    variances = squares / counts - (sums / counts) ** 2
    for rad in range(first + 1, end):
        if variances[rad] < _CLIFF * variances[rad - 1]:
            return rad - 1
    return end


def _refine(labels: npt.NDArray[np.int8], amplitude: MonogenicAmplitude, compute: Compute) -> None:
    """Relabel as noise the signal voxels whose smoothed broadband amplitude is no more than the solvent's."""
    signal, solvent = labels == SIGNAL, labels == NOISE
    if not solvent.any() or not signal.any():
        return
    regions = [Region(compute, signal), Region(compute, solvent)]
    of_signal, of_solvent = amplitude.broadband(_REFINEMENT_SIGMA, regions)
    threshold = sorted_value(of_solvent, int(_REFINEMENT_QUANTILE * of_solvent.size))
    labels[signal] = np.where(of_signal < threshold, NOISE, SIGNAL)


def _check_voxels(signal: npt.NDArray[np.bool_], noise: npt.NDArray[np.bool_], of_noise: FloatArray) -> None:
    """Refuse to measure where there is nothing to measure, or no noise in the map that should tell it."""
    if not signal.any():
        raise RegularizerError(
            "MonoRes: nothing inside the mask stands out from the solvent; is the mask in place?"
        )
    if not noise.any():
        raise RegularizerError("MonoRes: the mask leaves no solvent to measure the noise in; give a tighter mask.")
    if told := masked_map_sentence(of_noise, noise):
        raise RegularizerError(told)


def sweep_levels(box: int, pixel_size_angstrom: float, settings: MonoResSettings) -> list[tuple[int, float]]:
    """Return the shells (Fourier pixels) and levels (Å) to test, from the worst to the finest."""
    nyquist = 2.0 * pixel_size_angstrom
    finest = max(settings.finest_angstrom, nyquist) - 1e-6
    levels: list[tuple[int, float]] = []
    count = 0
    while (wanted := settings.worst_angstrom - count * settings.step_angstrom) >= finest:
        count += 1
        shell = nearest_index(pixel_size_angstrom / wanted, box)
        if shell < 1 or (levels and shell == levels[-1][0]):
            continue
        if (level := box * pixel_size_angstrom / shell) < finest:
            break
        levels.append((shell, level))
    return levels


@dataclass(frozen=True)
class _Meter:
    """Measures signal and noise amplitudes at one level."""

    amplitude: MonogenicAmplitude
    noise_amplitude: MonogenicAmplitude | None
    signal: Region
    noise: Region
    settings: MonoResSettings

    def measure(self, shell: int) -> tuple[FloatArray, FloatArray]:
        keep = self.settings.keep_nyquist
        if self.noise_amplitude is None:
            signal, noise = self.amplitude.above(shell, keep, [self.signal, self.noise])
            return signal, noise
        (signal,) = self.amplitude.above(shell, keep, [self.signal])
        (noise,) = self.noise_amplitude.above(shell, keep, [self.noise])
        return signal, noise


def _sweep(
    meter: _Meter, levels: list[tuple[int, float]], settings: MonoResSettings, progress: Progress
) -> tuple[npt.NDArray[np.float64], list[float], str]:
    """Return the signal voxels' resolution, the levels tested, and why the sweep ended."""
    size = meter.signal.size
    resolution, fails = np.zeros(size), np.zeros(size, dtype=np.int8)
    live = np.ones(size, dtype=np.bool_)
    critical = NormalDist().inv_cdf(settings.significance)
    used: list[float] = []
    largest_mean = 0.0
    for number, (shell, level) in enumerate(levels):
        progress("local resolution", number / len(levels))
        if np.count_nonzero(live) / size < _LIVE_FRACTION:
            return resolution, used, "few voxels were left"
        used.append(level)
        amplitudes, noise = meter.measure(shell)
        left = amplitudes[live]
        level_of_noise = noise_level(noise, settings.significance, settings.gaussian)
        passed = live & (amplitudes > level_of_noise.threshold)
        failed = live & ~passed
        resolution[passed], fails[passed] = level, 0
        fails[failed] += 1
        done = failed & (fails >= 2)
        resolution[done] = used[max(len(used) - 3, 0)]
        live &= ~done
        mean = float(left.mean(dtype=np.float64))
        largest_mean = max(largest_mean, mean)
        if mean < _MEAN_FRACTION * largest_mean:
            return resolution, used, "the signal vanished"
        if level_of_noise.z_score(left) < critical:
            return resolution, used, "the signal sank into the noise"
    return resolution, used, "the finest level was reached"


def _smoothed(
    inside: npt.NDArray[np.float64], signal: npt.NDArray[np.bool_], compute: Compute
) -> npt.NDArray[np.float64]:
    """Return the signal voxels' values, smoothed where that improves the number, and 0 outside.

    For the smoothing the outside counts as the median.
    """
    region = bounding_block(signal)
    voxels = signal[region]
    middle = sorted_value(inside, inside.size // 2)
    departure = np.zeros(voxels.shape)
    departure[voxels] = inside - middle
    smooth = middle + radially_filtered(
        compute.to_device(departure), len(signal), lambda u: gaussian(u, _SMOOTHING_SIGMA), compute
    )
    result = np.zeros(signal.shape)
    result[region][voxels] = np.minimum(inside, compute.to_numpy(smooth)[voxels])
    return result
