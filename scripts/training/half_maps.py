"""Realistic half-maps from true maps: what is wrong with a real reconstruction, drawn at random.

Signal: blurred by alignment errors that grow with the distance from the middle, by fields of varying mobility,
and by one floppy or half-occupied part; now and then with a detergent belt. Noise: coloured so that the FSC falls
to 1/7 at a drawn resolution, uneven over the directions of Fourier space up to missing cones, weaker outside the
particle's circle. Both weighted, mostly, by the MAP term, and cut by RELION's soft sphere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.special import expit

from extrecon.fourier.resolution import ONE_SEVENTH

Array = npt.NDArray[np.float32]
Curve = npt.NDArray[np.float64]

_MASKED_SHARE = 0.15
_BLUR_ANGSTROM = (0.0, 0.8, 1.6, 2.8, 4.5, 8.0)


@dataclass(frozen=True)
class Simulated:
    """A half-map, the truth it is a half-map of, and the FSC that two such half-maps have."""

    half_map: Array
    truth: Array
    fsc: Curve
    pixel_size_angstrom: float


class Grid:
    """Places and frequencies of a box."""

    def __init__(self, box: int, pixel_size: float) -> None:
        self.box, self.pixel_size = box, pixel_size
        axis = ((np.arange(box) - box // 2) * pixel_size).astype(np.float32)
        self.places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
        self.radius = np.sqrt((self.places**2).sum(axis=0))
        full, half = np.fft.fftfreq(box, 1 / box), np.arange(box // 2 + 1)
        k = np.stack(np.meshgrid(full, full, half, indexing="ij")).astype(np.float32)
        index = np.sqrt((k**2).sum(axis=0))
        self.shell = np.minimum(np.floor(index + 0.5).astype(np.int64), box // 2 + 1)
        self.direction = k / np.maximum(index, 0.5)
        self.square_frequency = (index / (box * pixel_size)) ** 2
        pair = np.full(box // 2 + 1, 2.0)
        pair[[0, -1]] = 1.0
        self._pair = np.broadcast_to(pair, self.shell.shape).ravel()
        self.count = np.bincount(self.shell.ravel(), self._pair)[: box // 2 + 1]

    def power(self, spectrum: npt.NDArray[np.complex64]) -> Curve:
        """Return the mean |F|² of each shell to Nyquist."""
        square = (spectrum.real**2 + spectrum.imag**2).ravel() * self._pair
        mean: Curve = np.bincount(self.shell.ravel(), square)[: self.box // 2 + 1] / self.count
        return mean

    def per_shell(self, curve: Curve) -> Array:
        """Return a curve's value at each Fourier point; the corners have the last one."""
        return np.append(curve, curve[-1]).astype(np.float32)[self.shell]

    def smooth_field(self, length: float, rng: np.random.Generator) -> Array:
        """Return a Gaussian random field of mean 0 and deviation 1 that varies over ``length``, Å."""
        white = rng.standard_normal((self.box,) * 3, dtype=np.float32)
        spectrum = scipy.fft.rfftn(white) * np.exp(-2 * np.pi**2 * length**2 * self.square_frequency / 4)
        field = scipy.fft.irfftn(spectrum, s=white.shape)
        return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def simulate_half_map(
    truth: Array,
    pixel_size: float,
    rng: np.random.Generator,
    finest: float | None = None,
    *,
    under_mask: bool = False,
) -> Simulated:
    """Return a half-map of ``truth``, (n, n, n) z, y, x, whose FSC falls to 1/7 at ``finest``, Å, or anywhere.

    With ``under_mask`` the FSC is what it is inside a mask, where there is less noise: as RELION tells it where it
    corrects for the solvent. Now and then the half-map itself has been masked then.
    """
    grid = Grid(len(truth), pixel_size)
    mask = drawn_mask(truth, grid, rng) if under_mask else None
    if rng.random() < 0.15:
        truth = with_chance_belt(truth, grid, rng)
    signal = scipy.fft.rfftn(np.fft.ifftshift(blurred(truth, grid, rng)))
    noise = scipy.fft.rfftn(np.fft.ifftshift(solvent_noise(grid, rng)))
    if finest is None:
        finest = pixel_size * float(np.exp(rng.uniform(np.log(2.2), np.log(5.5))))
    uneven = unevenness(grid, rng)
    signal_power = grid.power(signal)
    noise_power = coloured(signal_power, grid, finest, rng)
    noise *= np.sqrt(grid.per_shell(noise_power / np.maximum(grid.power(noise), 1e-12)) * uneven)
    gain = map_gain(signal_power, noise_power, uneven, grid, rng)
    signal, noise = signal * gain, noise * gain
    inside = 1.0 if mask is None else float(np.square(mask).mean())
    share = grid.power(signal) / np.maximum(grid.power(signal) + inside * grid.power(noise), 1e-12)
    points = np.maximum(inside * grid.count / 2, 1.0)
    fsc = share + rng.standard_normal(len(share)) * (1 - share**2) / np.sqrt(points)
    density = np.fft.fftshift(scipy.fft.irfftn(signal + noise, s=truth.shape))
    if rng.random() < 0.7:
        density = within_sphere(density, grid)
    if mask is not None and rng.random() < _MASKED_SHARE:
        density = density * mask
    return Simulated(density.astype(np.float32), truth, np.clip(fsc, -1.0, 1.0), pixel_size)


def drawn_mask(truth: Array, grid: Grid, rng: np.random.Generator) -> Array:
    """Return a soft mask about the particle, 0 to 1: from tight to generous."""
    spectrum = scipy.fft.rfftn(np.maximum(truth, 0))
    reach = rng.uniform(4.0, 9.0)
    smooth = scipy.fft.irfftn(spectrum * np.exp(-2 * np.pi**2 * reach**2 * grid.square_frequency), s=truth.shape)
    level = smooth.max() * np.exp(rng.uniform(np.log(0.03), np.log(0.2)))
    rise = np.clip((smooth / level - 0.5) / rng.uniform(0.5, 1.5), 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * rise), dtype=np.float32)


def blurred(truth: Array, grid: Grid, rng: np.random.Generator) -> Array:
    """Blur each place as much as alignment errors, mobility and a floppy part make it."""
    angle = np.radians(rng.choice([0.0, rng.uniform(0.5, 4.5)], p=[0.2, 0.8]))
    variance = (2 / 3) * (angle * grid.radius) ** 2 + rng.uniform(0.0, 0.6 * grid.pixel_size) ** 2
    if rng.random() < 0.7:
        spread = rng.uniform(0.3, 1.2)
        field = np.exp(spread * grid.smooth_field(rng.uniform(15.0, 50.0), rng))
        variance = variance + rng.uniform(0.0, 2.0) ** 2 * field
    occupancy = np.ones_like(truth)
    if rng.random() < 0.35:
        inside = part(truth, grid, rng)
        if rng.random() < 0.6:
            variance = variance + inside * rng.uniform(1.5, 7.0) ** 2
        else:
            occupancy = 1 - inside * rng.uniform(0.2, 0.9)
    return between_blurs(truth * occupancy, np.asarray(variance, dtype=np.float32), grid)


def between_blurs(density: Array, variance: Array, grid: Grid) -> Array:
    """Blur with a Gaussian of a variance, Å², given for each voxel, by interpolating between uniform blurs."""
    spectrum = scipy.fft.rfftn(density)
    levels = np.square(_BLUR_ANGSTROM)
    variance = np.minimum(variance, levels[-1])
    out = np.zeros_like(density)
    for number, level in enumerate(levels):
        corners = [levels[max(number - 1, 0)], level, levels[min(number + 1, len(levels) - 1)]]
        heights = [float(number == 0), 1.0, float(number == len(levels) - 1)]
        weight = np.interp(variance, corners, heights) if number else np.interp(variance, corners[1:], [1.0, 0.0])
        if not weight.any():
            continue
        kernel = np.exp(-2 * np.pi**2 * level * grid.square_frequency)
        out += (weight * scipy.fft.irfftn(spectrum * kernel, s=density.shape)).astype(np.float32)
    return out


def part(truth: Array, grid: Grid, rng: np.random.Generator) -> Array:
    """Return 1 in a ball about a place on the particle, 0 outside, soft between."""
    where = np.argwhere(truth > np.percentile(truth, 97))
    centre = (where[rng.integers(len(where))] - grid.box // 2) * grid.pixel_size
    distance = np.sqrt(((grid.places - centre[:, None, None, None].astype(np.float32)) ** 2).sum(axis=0))
    ball: Array = expit((np.float32(rng.uniform(10.0, 30.0)) - distance) / 3)
    return ball


def with_chance_belt(truth: Array, grid: Grid, rng: np.random.Generator) -> Array:
    """Add a belt of lower density about the particle, as a detergent micelle or a nanodisc has."""
    axis = rng.standard_normal(3)
    along = np.tensordot(axis / np.linalg.norm(axis), grid.places, axes=1)
    smooth = scipy.fft.irfftn(
        scipy.fft.rfftn(np.maximum(truth, 0)) * np.exp(-2 * np.pi**2 * 36.0 * grid.square_frequency), s=truth.shape
    )
    core = smooth > 0.25 * smooth.max()
    wide = scipy.fft.irfftn(
        scipy.fft.rfftn(core.astype(np.float32)) * np.exp(-2 * np.pi**2 * 150.0 * grid.square_frequency),
        s=truth.shape,
    )
    slab = expit((rng.uniform(13, 19) - np.abs(along - rng.uniform(-15, 15))) / 2)
    belt = slab * expit((wide - 0.12) / 0.03) * (1 - np.clip(smooth / (0.5 * smooth.max()), 0, 1))
    height = rng.uniform(0.15, 0.45) * np.percentile(truth[core], 75) if core.any() else 0.0
    return np.asarray(truth + height * belt * (1 + 0.3 * grid.smooth_field(8.0, rng)), dtype=np.float32)


def solvent_noise(grid: Grid, rng: np.random.Generator) -> Array:
    """Return white noise, now and then weaker outside a ball, as particles masked by a circle have it."""
    noise = rng.standard_normal((grid.box,) * 3, dtype=np.float32)
    if rng.random() < 0.6:
        edge = grid.box * grid.pixel_size * rng.uniform(0.35, 0.5)
        outside = expit((grid.radius - edge) / (1.5 * grid.pixel_size))
        noise *= 1 - rng.uniform(0.3, 0.95) * outside
    return noise.astype(np.float32)


def coloured(signal_power: Curve, grid: Grid, finest: float, rng: np.random.Generator) -> Curve:
    """Return the noise power of each shell, such that the FSC is 1/7 at ``finest``, Å."""
    shell = np.arange(grid.box // 2 + 1)
    at = int(np.clip(round(grid.box * grid.pixel_size / finest), 2, len(shell) - 1))
    shape = (shell + rng.uniform(0.5, 6.0)) ** rng.uniform(0.0, 3.0)
    shape = shape * np.exp(rng.uniform(-0.3, 1.0) * (shell / at) ** 2)
    around = signal_power[max(at - 1, 1) : at + 2].mean()
    return np.asarray((1 / ONE_SEVENTH - 1) * around * shape / shape[at])


def unevenness(grid: Grid, rng: np.random.Generator) -> Array:
    """Return a factor on the noise power by direction: views are rarely even, and cones may be missing."""
    axis = rng.standard_normal(3)
    cosine = np.abs(np.tensordot((axis / np.linalg.norm(axis)).astype(np.float32), grid.direction, axes=1))
    factor = (
        np.exp(rng.uniform(-0.5, 1.2) * (3 * cosine**2 - 1) / 2) if rng.random() < 0.6 else np.ones_like(cosine)
    )
    if rng.random() < 0.1:
        edge = np.cos(np.radians(rng.uniform(15.0, 40.0)))
        factor = factor * (1 + rng.uniform(5.0, 50.0) * expit((cosine - edge) / 0.03))
    return np.asarray(factor, dtype=np.float32)


def map_gain(signal_power: Curve, noise_power: Curve, uneven: Array, grid: Grid, rng: np.random.Generator) -> Array:
    """Return what the MAP term leaves of each Fourier point: tau² / (tau² + noise); 1 where there is none."""
    if rng.random() < 0.25:
        return np.ones_like(uneven)
    tau2 = signal_power * rng.uniform(0.5, 4.0)
    noise = grid.per_shell(noise_power) * uneven
    signal = grid.per_shell(tau2)
    return np.asarray(signal / np.maximum(signal + noise, 1e-20), dtype=np.float32)


def within_sphere(density: Array, grid: Grid) -> Array:
    """Put the mean of the surroundings outside a soft sphere that touches the box."""
    edge = np.clip((grid.radius / grid.pixel_size - grid.box / 2 + 3) / 3, 0, 1)
    outside = 0.5 - 0.5 * np.cos(np.pi * edge)
    mean = float((density * outside).sum() / outside.sum())
    return np.asarray(density + (mean - density) * outside, dtype=np.float32)
