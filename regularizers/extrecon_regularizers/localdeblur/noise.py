"""Statistics of the noise's amplitudes."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from extrecon.maps.half_map import FloatArray

_SAMPLE_STRIDE = 61
_SMALL = 20_000


@dataclass(frozen=True)
class NoiseLevel:
    """The noise's amplitude at one level.

    Attributes
    ----------
    threshold : what a signal voxel must exceed
    mean, variance : of the noise's amplitudes
    count : number of noise voxels
    """

    threshold: float
    mean: float
    variance: float
    count: int

    def z_score(self, signal: FloatArray) -> float:
        """Return how many standard errors the signal's mean lies above the noise's."""
        error = np.sqrt(signal.var(dtype=np.float64) / signal.size + self.variance / self.count)
        return float((signal.mean(dtype=np.float64) - self.mean) / error) if error > 0 else np.inf


def noise_level(noise: FloatArray, significance: float, gaussian: bool) -> NoiseLevel:
    """Return the threshold and moments of the noise's amplitudes.

    Parameters
    ----------
    noise : (m,) amplitudes
    significance : the quantile, 0 to 1
    gaussian : threshold mean + z sd, z being the normal quantile, in place of the sample's own quantile
    """
    if np.isnan(noise[0]):
        return NoiseLevel(np.nan, np.nan, np.nan, noise.size)
    mean = float(noise.mean(dtype=np.float64))
    variance = max(float(np.vdot(noise, noise)) / noise.size - mean * mean, 0.0)
    if gaussian:
        return NoiseLevel(mean + NormalDist().inv_cdf(significance) * np.sqrt(variance), mean, variance, noise.size)
    threshold = sorted_value(noise, int(noise.size * significance))
    return NoiseLevel(threshold, mean, variance, noise.size)


def sorted_value(values: FloatArray, rank: int) -> float:
    """Return ``np.sort(values)[rank]`` without sorting: a sample tells where to look.

    Parameters
    ----------
    values : (m,) finite numbers
    rank : 0 to m − 1; larger ranks give the largest value
    """
    rank = min(rank, values.size - 1)
    if values.size > _SMALL:
        sample = np.sort(values[::_SAMPLE_STRIDE])
        middle, margin = rank // _SAMPLE_STRIDE, 4 * int(np.sqrt(sample.size)) + 2
        low = sample[max(middle - margin, 0)]
        high = sample[min(middle + margin, sample.size - 1)]
        below = int(np.count_nonzero(values < low))
        between = values[(values >= low) & (values <= high)]
        if below <= rank < below + between.size:
            return float(np.partition(between, rank - below)[rank - below])
    return float(np.partition(values, rank)[rank])
