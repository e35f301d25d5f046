"""Accumulators of any box, computed slab by slab: what a large refinement leaves for one half.

RELION's own programs need ten times the memory of the files to make such files. Here the transform of a known
density under noise is multiplied by weights as many images leave them: falling with the radius, as planes through
the origin cover Fourier space, level about the origin, where contrast transfer is weak, and with the scatter of how
many planes met each point. The noise's power is 1 / (p³ W), as RELION's model has it, so that tau2, FSC and maps
fit one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import scipy.fft
from accumulators import random_chain

from extrecon.fourier.compute import cpu
from extrecon.fourier.grids import full_axis, squared_radius
from extrecon.fourier.shells import Shells, power

IMAGES = 50_000
PIXEL_SIZE = 1.5
RESOLUTION_PX = 3.0
"""Where the half-map FSC falls under 1/7: the finest for which nothing works on a coarser grid."""
ONE_SEVENTH = 1 / 7
LEAST_FSC = 0.02
"""What chance leaves of an FSC beyond the resolution: RELION takes that for signal, too."""
WEAK_TRANSFER_SHELLS = 8
ROWS = 16

STAR = """
# version 30001

data_external_reconstruct_general

_rlnExtReconsDataReal                 {stem}_data_real.mrc
_rlnExtReconsDataImag                 {stem}_data_imag.mrc
_rlnExtReconsWeight                   {stem}_weight.mrc
_rlnExtReconsResult                   {stem}.mrc
_rlnExtReconsResultStarfile           {stem}_out.star
_rlnPixelSize                         {pixel}
_rlnParticleDiameter                  {diameter}
_rlnTau2FudgeFactor                   1.000000
_rlnPaddingFactor                     {padding}.000000
_rlnReferenceDimensionality           3
_rlnOriginalImageSize                 {box}
_rlnCurrentImageSize                  {box}


# version 30001

data_external_reconstruct_tau2

loop_
_rlnSpectralIndex #1
_rlnReferenceTau2 #2
_rlnGoldStandardFsc #3
{rows}
"""

Curve = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """What a refinement knows of its map, for each shell.

    Attributes
    ----------
    tau2 : (n // 2 + 1,) signal power, |F|² / n⁴
    weight : (n // 2 + 1,) mean weight W
    """

    tau2: Curve
    weight: Curve
    padding: int

    @property
    def noise(self) -> Curve:
        """Noise power of each shell, 1 / (p³ W)."""
        return 1.0 / (self.padding**3 * self.weight)

    @property
    def fsc(self) -> Curve:
        """Half-map FSC."""
        return self.tau2 / (self.tau2 + self.noise)


def make_large_accumulators(folder: Path, box: int, padding: int, half: int) -> Path:
    """Write one half's accumulators and return the STAR file, named as in a refinement.

    Both halves hold the same density under noise of their own.
    """
    density = random_chain(box, np.random.default_rng(1), beads=2000 * box**3 // 128**3)
    known = _statistics(density, padding)
    rng = np.random.default_rng(100 + half)
    _add_noise(density, known, rng)
    squared = np.sqrt(squared_radius([np.arange(box, dtype=np.float32) - box // 2] * 3))
    density *= np.sinc(squared / (box * padding)) ** 2
    del squared
    stem = folder / f"run_it005_half{half}_class001_external_reconstruct"
    _write_slabs(stem, _planes(density, padding), known, box, rng)
    rows = "".join(f"{s} {t:e} {f:f}\n" for s, (t, f) in enumerate(zip(known.tau2, known.fsc, strict=True)))
    diameter = 0.7 * box * PIXEL_SIZE
    star = stem.with_suffix(".star")
    star.write_text(
        STAR.format(stem=stem.name, pixel=PIXEL_SIZE, diameter=diameter, padding=padding, box=box, rows=rows)
    )
    return star


def _statistics(density: Volume, padding: int) -> Statistics:
    """Return the density's power, and weights with which its FSC falls under 1/7 at the resolution."""
    n = len(density)
    shells = Shells(n, cpu())
    tau2 = power(shells.spectrum(density), shells) / shells.points() / n**4
    weight = 1.0 / (WEAK_TRANSFER_SHELLS + np.arange(n // 2 + 1))
    last = round(n / RESOLUTION_PX)
    weight *= ONE_SEVENTH / (1 - ONE_SEVENTH) / (padding**3 * tau2[last] * weight[last])
    tau2 = np.maximum(tau2, LEAST_FSC / (1 - LEAST_FSC) / (padding**3 * weight))
    return Statistics(tau2, weight, padding)


def _add_noise(density: Volume, known: Statistics, rng: np.random.Generator) -> None:
    n = len(density)
    shells = Shells(n, cpu())
    spectrum = shells.spectrum(rng.standard_normal(density.shape, dtype=np.float32))
    shells.scale(spectrum, np.sqrt(known.noise * n))  # white noise of variance 1 has the power n³ = n⁴ / n
    density += shells.density(spectrum)


def _planes(density: Volume, padding: int) -> npt.NDArray[np.complex64]:
    """Return the map's planes, moved to the origin, padded and transformed over y and x: (n, pn, pn // 2 + 1)."""
    n = len(density)
    size, half = padding * n, n // 2
    planes = np.empty((n, size, size // 2 + 1), np.complex64)
    padded = np.zeros((size, size), np.float32)
    for plane, section in zip(planes, np.fft.ifftshift(density, axes=0), strict=True):
        for rows, there in ((slice(half, n), slice(0, n - half)), (slice(0, half), slice(size - half, size))):
            padded[there, : n - half] = section[rows, half:]
            padded[there, size - half :] = section[rows, :half]
        plane[:] = scipy.fft.rfft2(padded)
    return planes


def _write_slabs(
    stem: Path, planes: npt.NDArray[np.complex64], known: Statistics, box: int, rng: np.random.Generator
) -> None:
    size = known.padding * box
    shape = (size, size, size // 2 + 1)
    names = [stem.with_name(f"{stem.name}_{what}.mrc") for what in ("data_real", "data_imag", "weight")]
    files = [mrcfile.new_mmap(name, shape, mrc_mode=2, overwrite=True) for name in names]
    middle = _symmetric(rng.standard_normal((size, size), dtype=np.float32))
    for start in range(0, size, ROWS):
        rows = slice(start, min(start + ROWS, size))
        spectrum = _transformed_along_z(planes[:, rows], size, box)
        weight = _weights(rows, known, size, rng, middle)
        spectrum *= weight / box**2
        for file, values in zip(files, (spectrum.real, spectrum.imag, weight), strict=True):
            file.data[:, rows] = values
    for file in files:
        file.close()


def _transformed_along_z(planes: npt.NDArray[np.complex64], size: int, box: int) -> npt.NDArray[np.complex64]:
    padded = np.zeros((size, *planes.shape[1:]), np.complex64)
    half = box // 2
    padded[: box - half] = planes[: box - half]
    padded[size - half :] = planes[box - half :]
    transformed: npt.NDArray[np.complex64] = scipy.fft.fft(padded, axis=0, overwrite_x=True, workers=-1)
    return transformed


def _weights(
    rows: slice, known: Statistics, size: int, rng: np.random.Generator, middle: npt.NDArray[np.float32]
) -> Volume:
    """Return the weights of some rows, (size, rows, size // 2 + 1), 0 beyond what the images reach."""
    axis = full_axis(size)
    radius = np.sqrt(squared_radius([axis, axis[rows], np.arange(size // 2 + 1)]).astype(np.float32))
    radius /= known.padding
    weight = np.interp(radius, np.arange(known.weight.size), known.weight, right=0.0).astype(np.float32)
    scatter = rng.standard_normal(weight.shape, dtype=np.float32)
    scatter[..., 0] = middle[:, rows]
    hits = np.float32(IMAGES / 2 / known.padding) / (1 + radius)
    weight *= np.maximum(1 + scatter / np.sqrt(hits), 0.05)
    return weight


def _symmetric(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return random numbers that are the same at k and −k: the accumulators' plane x = 0 holds both."""
    both: npt.NDArray[np.float32] = (plane + np.roll(plane[::-1, ::-1], 1, axis=(0, 1))) / np.sqrt(np.float32(2))
    return both
