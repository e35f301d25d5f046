"""Unseen particles as judges of a map: how much likelier their images are with it than without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import InputError, MapError, StarError, UsageError
from extrecon.fourier.edges import falling_edge
from extrecon.fourier.grids import full_axis
from extrecon.fourier.masks import soft_sphere
from extrecon.relion import labels
from extrecon.relion.images import Lens, ParticleImages
from extrecon.relion.star import read_star
from extrecon.simulate.projection import contrast_transfer, project, shift_and_blur
from extrecon.system.packages import SIMULATING, require

FloatArray = npt.NDArray[np.float64]
Volume = npt.NDArray[np.floating[Any]]

EDGE_PX = 5.0
"""Width of the circle's soft edge, as RELION's own."""
_BATCH = 128
_SMALLEST_OUTSIDE = 0.05
"""Share of an image that must lie outside the circle for noise to be told there."""


@dataclass(frozen=True)
class HeldOutScore:
    """How well a map explains images that it was not made from.

    In the terms of `score_held_out`; the sums are over the pixels in the circle, taken apart by Fourier shells.

    Attributes
    ----------
    cross : (images, shells) Σ x a of the whitened image and projection, for a grey scale of 1
    power : (images, shells) Σ a²
    image_power : (images, shells) Σ x²
    grey_scale : factor of the map's densities, common to all images and shells
    last_shell : the last that is scored, counted in the box's shells; the sums have more, for what the circle's
        edge carries beyond
    """

    cross: FloatArray
    power: FloatArray
    image_power: FloatArray
    grey_scale: float
    last_shell: int

    @property
    def nats(self) -> FloatArray:
        """Log-likelihood of each image with the map less that with an empty one, (images,), natural logarithm."""
        scale = self.grey_scale
        return np.asarray((scale * self.cross - 0.5 * scale**2 * self.power).sum(axis=1))

    @property
    def nats_per_particle(self) -> float:
        """Mean of `nats`."""
        return float(self.nats.mean())

    @property
    def standard_error(self) -> float:
        """Of that mean, from the images' scatter; of two maps compare the images pair by pair instead."""
        return float(self.nats.std(ddof=1) / np.sqrt(len(self.nats))) if len(self.nats) > 1 else float("nan")

    @property
    def nats_at_best_filter(self) -> float:
        """Nats a particle if each shell had its own best factor, not below 0: blind to how a map was filtered."""
        cross, power = self.cross.sum(axis=0), self.power.sum(axis=0)
        gained = np.divide(np.clip(cross, 0, None) ** 2, 2 * power, out=np.zeros_like(power), where=power > 0)
        return float(gained.sum() / len(self.cross))

    @property
    def frc(self) -> FloatArray:
        """Correlation of images and projections over all images, by shell, (last shell + 1,); shell 0 is 0."""
        cross, power, images = (
            each.sum(axis=0)[: self.last_shell + 1] for each in (self.cross, self.power, self.image_power)
        )
        norm = np.sqrt(power * images)
        found: FloatArray = np.divide(cross, norm, out=np.zeros_like(cross), where=norm > 0)
        found[0] = 0.0
        return found

    @property
    def mean_frc(self) -> float:
        """Mean of `frc` over shells 1 to the last."""
        return float(self.frc[1:].mean())


def score_held_out(
    density: Volume,
    images: ParticleImages,
    noise_power: FloatArray,
    diameter_angstrom: float,
    finest_angstrom: float,
    *,
    grey_scale: float | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> HeldOutScore:
    """Return the log-likelihood ratio of images with a map against an empty one, at the images' poses.

    With Gaussian noise of variance σ²(k) in the real and in the imaginary part of an image's transform X (Scheres,
    J. Mol. Biol. 415, 406 (2012), equation 2), and A the map's projection times the CTF, the ratio is

        Σ_k [2 Re(X* A) − |A|²] / (2 σ²(k))

    over the points of half the plane. By Parseval's theorem that is Σ_r (2 x a − a²) / 2 over the pixels of the
    whitened images x and a, whose noise has variance 1; here this sum is taken over the pixels of the particle's
    circle, centred on the particle, with a soft edge. So A is cut as X is, and an image of noise alone expects
    −½ Σ a², one that shows the map +½ Σ a².

    The grey scale s of the map, one number, is fitted by least squares to all images at once, s = Σ x a / Σ a²,
    and is 0 where that is negative. It is fitted to the images that it is judged by; being one number, it gains
    half a nat over all of them.

    Images are taken as they are: RELION's ``rlnNormCorrection`` and group scales follow from the map that they were
    fitted to, and would give each map other images.

    Parameters
    ----------
    density : (n, n, n), axes z, y, x; what lies outside the sphere of the diameter is left out
    images : with poses and CTF, contrast white, as RELION refines them
    noise_power : (n // 2 + 1,) σ² of each shell, of transforms that are not divided by the number of pixels
    diameter_angstrom : of the particle's circle
    finest_angstrom : shells beyond are left out
    grey_scale : in place of the fit
    report : called with the share done

    Raises
    ------
    MapError : the map's box is not the images'.
    UsageError : a diameter or limit that makes no sense, or noise that is not above 0.
    """
    require("Scoring held-out particles", SIMULATING)
    n, pixel = images.box, images.pixel_size_angstrom
    if density.shape != (n, n, n):
        raise MapError(f"The images of {images.path} are {n} px, but the map is {density.shape[0]}³ voxels.")
    last = _last_shell(n, pixel, finest_angstrom)
    whiten = _whitening(noise_power, n, last)
    root = np.sqrt(circle(n, diameter_angstrom / pixel))
    inside = density * soft_sphere(n, 0.5 * diameter_angstrom / pixel, EDGE_PX)
    sums: list[FloatArray] = []
    for rows in _batches(len(images)):
        x, a = (
            np.fft.rfft2(np.fft.irfft2(each * whiten, s=(n, n)) * root) / n
            for each in (centred(images, rows), projected(inside, images, rows))
        )
        sums.append(_by_shell([(x * a.conj()).real, np.abs(a) ** 2, np.abs(x) ** 2], n))
        report((rows[-1] + 1) / len(images))
    cross, power, image_power = np.concatenate(sums, axis=1)
    if grey_scale is None:
        total = float(power.sum())
        grey_scale = max(float(cross.sum()) / total, 0.0) if total > 0 else 0.0
    return HeldOutScore(cross, power, image_power, grey_scale, last)


def centred(images: ParticleImages, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.complex128]:
    """Return the transforms of some images with the particle in the middle, (rows, n, n // 2 + 1)."""
    back = shift_and_blur(images.read(rows), -images.shifts_angstrom[rows], images.pixel_size_angstrom)
    return np.fft.rfft2(back)


def projected(density: Volume, images: ParticleImages, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.complex128]:
    """Return the transforms of a map's projections for some images, times their CTF, (rows, n, n // 2 + 1)."""
    spectra: npt.NDArray[np.complex128] = np.fft.rfft2(project(density, images.poses[rows]))
    if images.lens is not None:
        spectra *= _ctf(images.lens, rows, images.box, images.pixel_size_angstrom)
    return spectra


def _ctf(lens: Lens, rows: npt.NDArray[np.int64], n: int, pixel: float) -> FloatArray:
    optics = np.stack([lens.voltages_kv, lens.spherical_aberrations_mm, lens.amplitude_contrasts])[:, rows]
    squared = np.fft.fftfreq(n, pixel)[:, None] ** 2 + np.fft.rfftfreq(n, pixel) ** 2
    ctf = np.empty((len(rows), n, n // 2 + 1))
    for kind in np.unique(optics, axis=1).T:
        same = (optics == kind[:, None]).all(axis=0)
        some = rows[same]
        voltage, aberration, contrast = map(float, kind)
        ctf[same] = contrast_transfer(
            lens.defoci[:, some], n, pixel, voltage, aberration, contrast, lens.phase_shifts_degrees[some]
        )
    envelope = np.exp(-0.25 * lens.b_factors[rows, None, None] * squared)
    return np.asarray(ctf * envelope * lens.scales[rows, None, None])


def circle(n: int, diameter_px: float) -> FloatArray:
    """Return a circle about pixel ``n // 2`` that falls from 1 to 0 over `EDGE_PX` outside its radius, (n, n).

    Raises
    ------
    UsageError : a diameter that is not above 0.
    """
    if not diameter_px > 0:
        raise UsageError(f"The particle's diameter must be above 0, not {diameter_px:g} px.")
    axis = np.arange(n, dtype=np.float64) - n // 2
    return falling_edge((np.sqrt(axis[:, None] ** 2 + axis**2) - 0.5 * diameter_px) / EDGE_PX)


def noise_outside(images: ParticleImages, diameter_angstrom: float) -> FloatArray:
    """Return the images' noise power σ² by shell, told from what lies outside the particle's circle.

    The pixels outside, their mean taken away, weigh 1 − the circle; the mean of |transform|² over images and shell,
    divided by the mean square of the weights, is the power of the whole image if its noise is alike everywhere.

    Returns
    -------
    (n // 2 + 1,) variance of the real part, half of the power, of transforms not divided by the number of pixels

    Raises
    ------
    UsageError : the circle leaves less than 5 % of the image.
    """
    n = images.box
    outside = 1 - circle(n, diameter_angstrom / images.pixel_size_angstrom)
    share = float((outside**2).mean())
    if share < _SMALLEST_OUTSIDE:
        raise UsageError(
            f"A circle of {diameter_angstrom:g} Å leaves {100 * share:.1f} % of the image to tell noise from; at "
            f"least {100 * _SMALLEST_OUTSIDE:.0f} % are needed. Take the noise of a RELION model file instead."
        )
    total = np.zeros(n // 2 + 1)
    for rows in _batches(len(images)):
        some = np.fft.irfft2(centred(images, rows), s=(n, n))
        mean = (some * outside).sum(axis=(1, 2), keepdims=True) / outside.sum()
        power = np.abs(np.fft.rfft2((some - mean) * outside)) ** 2
        total += _by_shell([power], n)[0].sum(axis=0)[: n // 2 + 1]
    points = _by_shell([np.ones((1, n, n // 2 + 1))], n)[0, 0, : n // 2 + 1]
    found: FloatArray = total / (2 * len(images) * share * points)
    found[0] = found[1]  # the mean was taken away
    return found


def noise_of_model(path: Path, box: int) -> FloatArray:
    """Return the noise power σ² by shell of a RELION model file, mean over its groups, for `score_held_out`.

    RELION divides transforms by the number of pixels, so that its ``rlnSigma2Noise`` is smaller by box⁴.

    Raises
    ------
    StarError : there is no such column, or it is damaged.
    InputError : it is for another box.
    """
    star = read_star(path)
    powers = [
        star.column(block, labels.NOISE_POWER)
        for block in star.loops()
        if block.startswith("model_") and star.has_column(block, labels.NOISE_POWER)
    ]
    if not powers:
        raise StarError(f"{path}: none of its groups has a column _{labels.NOISE_POWER}; is it a …_model.star?")
    if any(len(each) != box // 2 + 1 for each in powers):
        raise InputError(
            f"{path}: tells the noise of {len(powers[0])} shells; images of {box} px have {box // 2 + 1}."
        )
    return np.asarray(np.mean(powers, axis=0) * float(box) ** 4)


def _last_shell(n: int, pixel: float, finest: float) -> int:
    if not finest > 0:
        raise UsageError(f"The resolution limit must be above 0 Å, not {finest:g}.")
    last = int(min(np.floor(n * pixel / finest + 1e-6), n // 2))
    if last < 1:
        raise UsageError(f"A limit of {finest:g} Å leaves no shell of images {n * pixel:.0f} Å wide.")
    return last


def _whitening(noise_power: FloatArray, n: int, last: int) -> FloatArray:
    """Return what makes an image's noise white, of variance 1 a pixel, and cuts shells, (n, n // 2 + 1)."""
    if noise_power.shape != (n // 2 + 1,):
        raise UsageError(f"The noise has {len(noise_power)} shells, but images of {n} px have {n // 2 + 1}.")
    if not (noise_power[1 : last + 1] > 0).all():
        raise UsageError("The noise power must be above 0 in every shell that is scored.")
    shell = _shells(n)
    kept = (shell >= 1) & (shell <= last)
    power = noise_power[np.minimum(shell, n // 2)]
    return np.divide(n, np.sqrt(2 * power), out=np.zeros(shell.shape), where=kept)


def _shells(n: int) -> npt.NDArray[np.int64]:
    radius: FloatArray = np.sqrt(full_axis(n)[:, None] ** 2 + np.arange(n // 2 + 1) ** 2).astype(np.float64)
    return np.floor(radius + 0.5).astype(np.int64)


def _by_shell(quantities: list[FloatArray], n: int) -> FloatArray:
    """Return sums over the shells of whole transforms from half-complex ones, (quantities, images, shells)."""
    shell = _shells(n)
    count = int(shell.max()) + 1
    pair = np.full(n // 2 + 1, 2.0)
    pair[0] = 1.0
    pair[-1] = 1.0 if n % 2 == 0 else 2.0
    images = len(quantities[0])
    index = (np.arange(images)[:, None] * count + shell.ravel()).ravel()
    sums = [np.bincount(index, (each * pair).ravel(), images * count).astype(np.float64) for each in quantities]
    return np.stack(sums).reshape(len(quantities), images, count)


def _batches(count: int) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, count, _BATCH):
        yield np.arange(start, min(start + _BATCH, count))
