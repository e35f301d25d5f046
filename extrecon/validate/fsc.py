"""The FSC family: half-maps unmasked, masked, phase-randomised and corrected; directional; against a truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrecon.fourier.grids import full_axis
from extrecon.fourier.resolution import first_shell_under

FloatArray = npt.NDArray[np.float64]
Volume = npt.NDArray[np.floating]
RANDOMIZE_BELOW = 0.8
_CLIFF = 5.0  # power falls by so many times from one shell to the next, and so many times more than just before
_FEWEST_POINTS = 10
_CONE_DEGREES = 20.0


@dataclass(frozen=True)
class FscFamily:
    """Four curves over the shells 0 … n // 2.

    Attributes
    ----------
    unmasked, masked, randomised, corrected : (n // 2 + 1,)
    randomised_from : the shell from which on the phases were randomised
    """

    unmasked: FloatArray
    masked: FloatArray
    randomised: FloatArray
    corrected: FloatArray
    randomised_from: int


def fsc(first: Volume, second: Volume) -> FloatArray:
    """Return the FSC of two maps, (n // 2 + 1,), as RELION counts it.

    Harauz & van Heel, Optik 73, 146 (1986). RELION sums over the half-complex spectrum as it lies in memory: both
    points of a Friedel pair where kx = 0, one elsewhere. In a box of 32 this moves a shell's FSC by up to 0.012.
    """
    one, two = np.fft.rfftn(first), np.fft.rfftn(second)
    n = len(first)
    shell = np.floor(shell_radius(n) + 0.5).astype(int).ravel()
    cross, *powers = (
        np.bincount(shell, weights=values.ravel())[: n // 2 + 1]
        for values in ((one * two.conj()).real, np.abs(one) ** 2, np.abs(two) ** 2)
    )
    norm = np.sqrt(powers[0] * powers[1])
    curve: FloatArray = np.divide(cross, norm, out=np.zeros(n // 2 + 1), where=norm > 0)
    return curve


def fsc_family(first: Volume, second: Volume, mask: Volume, seed: int = 0) -> FscFamily:
    """Return the half-map FSC unmasked, masked, with randomised phases, and corrected for the mask.

    Chen et al., Ultramicroscopy 135, 24 (2013): phases are randomised from the shell where the unmasked FSC falls
    under 0.8; there FSC_true = (FSC_masked − FSC_random) / (1 − FSC_random), from two shells further on, as
    RELION's postprocess; the masked FSC before.

    Parameters
    ----------
    first, second : half-maps, (n, n, n)
    mask : (n, n, n), 0 to 1
    seed : of the random phases
    """
    unmasked = fsc(first, second)
    masked = fsc(first * mask, second * mask)
    start = first_shell_under(unmasked, RANDOMIZE_BELOW)
    rng = np.random.default_rng(seed)
    random = [randomised_phases(volume, start, rng) * mask for volume in (first, second)]
    randomised = fsc(random[0], random[1])
    return FscFamily(unmasked, masked, randomised, corrected_fsc(masked, randomised, start), start)


def corrected_fsc(masked: FloatArray, randomised: FloatArray, start: int) -> FloatArray:
    """Return the masked FSC freed of what the mask alone correlates; from two shells beyond ``start`` on."""
    corrected = masked.copy()
    beyond = np.arange(len(masked)) >= start + 2
    usable = beyond & (randomised < 1)
    corrected[usable] = (masked[usable] - randomised[usable]) / (1 - randomised[usable])
    corrected[beyond & (randomised > masked)] = 0.0
    return corrected


def randomised_phases(volume: Volume, start: int, rng: np.random.Generator) -> FloatArray:
    """Return the map with random phases from radius ``start`` (in shells) outwards, its amplitudes kept.

    As in RELION's postprocess, every point of the half-complex spectrum draws its own phase. On the plane kx = 0,
    where both points of a Friedel pair are stored, the real map then holds their mean, whose amplitude is lower;
    that raises the masked FSC by up to 0.006 next to ``start`` in a box of 32.
    """
    n = len(volume)
    spectrum = np.fft.rfftn(volume)
    replaced = shell_radius(n) >= start
    phases = rng.uniform(0.0, 2.0 * np.pi, int(replaced.sum()))
    spectrum[replaced] = np.abs(spectrum[replaced]) * np.exp(1j * phases)
    return np.fft.irfftn(spectrum, s=volume.shape, axes=(0, 1, 2))


def shell_radius(n: int) -> FloatArray:
    """Return each point's radius in shells, (n, n, n // 2 + 1) in FFT order."""
    axis = full_axis(n).astype(np.float64)
    radius: FloatArray = np.sqrt(
        axis[:, None, None] ** 2 + axis[:, None] ** 2 + np.arange(n // 2 + 1, dtype=np.float64) ** 2
    )
    return radius


def last_filled_shell(volume: FloatArray) -> int:
    """Return the last shell before the power falls off a cliff for good, as where RELION's current size ends."""
    n = len(volume)
    shell = np.floor(shell_radius(n) + 0.5).astype(int).ravel()
    power = np.bincount(shell, weights=(np.abs(np.fft.rfftn(volume)) ** 2).ravel())[: n // 2 + 1]
    later = np.maximum.accumulate(power[::-1])[::-1]  # the largest from here on
    falls = power[1:-1] / np.maximum(later[2:], power.max() * 1e-30)
    cliffs = np.flatnonzero((falls[1:] > _CLIFF) & (falls[1:] > _CLIFF * falls[:-1]))
    return int(cliffs[0]) + 2 if cliffs.size else n // 2


def directional_fsc(first: Volume, second: Volume, directions: FloatArray) -> FloatArray:
    """Return the FSC inside cones about directions, (directions, n // 2 + 1).

    Tan et al., Nature Methods 14, 793 (2017): the correlation over the points of a shell within 20° of an axis; NaN
    where a cone has so few points, as in the first shells, that their correlation says nothing.

    Parameters
    ----------
    first, second : (n, n, n)
    directions : (directions, 3), unit vectors x, y, z
    """
    n = len(first)
    one, two = np.fft.rfftn(first), np.fft.rfftn(second)
    radius = shell_radius(n)
    shell = np.floor(radius + 0.5).astype(int)
    inside = (shell >= 1) & (shell <= n // 2)
    axis = full_axis(n).astype(np.float64)
    z, y, x = (
        np.broadcast_to(part, radius.shape)[inside] / radius[inside]
        for part in (axis[:, None, None], axis[:, None], np.arange(n // 2 + 1, dtype=np.float64))
    )
    cross, power_one, power_two = (
        values[inside] for values in ((one * two.conj()).real, np.abs(one) ** 2, np.abs(two) ** 2)
    )
    curves = []
    for direction in directions:
        near = np.abs(direction[0] * x + direction[1] * y + direction[2] * z) >= np.cos(np.radians(_CONE_DEGREES))
        sums = [
            np.bincount(shell[inside][near], weights=values[near], minlength=n // 2 + 1)
            for values in (cross, power_one, power_two)
        ]
        norm = np.sqrt(sums[1] * sums[2])
        count = np.bincount(shell[inside][near], minlength=n // 2 + 1)
        told = (norm > 0) & (count >= _FEWEST_POINTS)
        curves.append(np.divide(sums[0], norm, out=np.full(n // 2 + 1, np.nan), where=told))
    found = np.array(curves)
    found[:, 0] = 1.0
    return found


def spread_directions(count: int) -> FloatArray:
    """Return directions spread evenly over half a sphere (a Fibonacci spiral), (count, 3), unit vectors x, y, z."""
    height = (np.arange(count) + 0.5) / count
    turn = np.pi * (3 - 5**0.5) * np.arange(count)
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)


def real_space_correlation(first: Volume, second: Volume, mask: Volume) -> float:
    """Return the correlation of two maps inside a mask, means removed, voxels weighted by the mask.

    The local mask correlation of Afonine et al., Acta Cryst. D 74, 814 (2018), with a soft mask.
    """
    weight = np.asarray(mask, np.float64)
    a, b = (np.asarray(each, np.float64) - np.average(each, weights=weight) for each in (first, second))
    norm = np.sqrt((weight * a * a).sum() * (weight * b * b).sum())
    return float((weight * a * b).sum() / norm) if norm > 0 else 0.0
