"""Accumulators of any box, computed slab by slab: what a large refinement leaves for one half.

RELION's own programs need ten times the memory of the files to make such files. Here the transform of a known
density under noise is multiplied by weights as many images leave them: falling with the radius, as planes through
the origin cover Fourier space, level about the origin, where contrast transfer is weak, and with the scatter of how
many planes met each point. The noise's power is 1 / (p³ W), as RELION's model has it, so that tau2, FSC and maps
fit one another.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
PLANES = 8

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
    _write_slabs(stem, _columns(density, padding), known, box, rng)
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


def _columns(density: Volume, padding: int) -> npt.NDArray[np.complex64]:
    """Return the map, padded and transformed along x and z, as it is along y: (pn, n, pn // 2 + 1)."""
    n = len(density)
    size = padding * n
    columns = np.empty((size, n, size // 2 + 1), np.complex64)
    for row in range(n):
        along_x = scipy.fft.rfft(_padded(density[:, row], size, axis=1), axis=1)
        columns[:, row] = scipy.fft.fft(_padded(along_x, size, axis=0), axis=0, overwrite_x=True)
    return columns


def _padded(array: npt.NDArray[Any], size: int, axis: int) -> npt.NDArray[Any]:
    """Lay an axis whose origin is in its middle on ``size`` points with the origin at 0."""
    array = np.moveaxis(array, axis, 0)
    n = len(array)
    laid = np.zeros((size, *array.shape[1:]), array.dtype)
    laid[: n - n // 2] = array[n // 2 :]
    laid[size - n // 2 :] = array[: n // 2]
    return np.moveaxis(laid, 0, axis)


def _write_slabs(
    stem: Path, columns: npt.NDArray[np.complex64], known: Statistics, box: int, rng: np.random.Generator
) -> None:
    size = known.padding * box
    names = [stem.with_name(f"{stem.name}_{what}.mrc") for what in ("data_real", "data_imag", "weight")]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(name.open("wb")) for name in names]
        for file in files:
            file.write(_header(size))
        middle = _symmetric(rng.standard_normal((size, size), dtype=np.float32))
        for start in range(0, size, PLANES):
            planes = slice(start, min(start + PLANES, size))
            spectrum = scipy.fft.fft(_padded(columns[planes], size, axis=1), axis=1, overwrite_x=True, workers=-1)
            weight = _weights(planes, known, size, rng, middle)
            spectrum *= weight / box**2
            for file, values in zip(files, (spectrum.real, spectrum.imag, weight), strict=True):
                file.write(np.ascontiguousarray(values, np.float32))


def _header(size: int) -> bytes:
    """Return the header of a float32 MRC file of (size, size, size // 2 + 1) points."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mrcfile.new(Path(folder) / "small.mrc", np.zeros((1, 1, 1), np.float32)) as mrc,
    ):
        header = mrc.header.copy()
    header.nx, header.ny, header.nz = size // 2 + 1, size, size
    header.mx, header.my, header.mz = size // 2 + 1, size, size
    header.ispg, header.nsymbt = 1, 0
    return bytes(header.tobytes())


def _weights(
    planes: slice, known: Statistics, size: int, rng: np.random.Generator, middle: npt.NDArray[np.float32]
) -> Volume:
    """Return the weights of some planes, (planes, size, size // 2 + 1), 0 beyond what the images reach."""
    axis = full_axis(size)
    radius = np.sqrt(squared_radius([axis[planes], axis, np.arange(size // 2 + 1)]).astype(np.float32))
    radius /= known.padding
    weight = np.interp(radius, np.arange(known.weight.size), known.weight, right=0.0).astype(np.float32)
    scatter = rng.standard_normal(weight.shape, dtype=np.float32)
    scatter[..., 0] = middle[planes]
    hits = np.float32(IMAGES / 2 / known.padding) / (1 + radius)
    weight *= np.maximum(1 + scatter / np.sqrt(hits), 0.05)
    return weight


def _symmetric(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return random numbers that are the same at k and −k: the accumulators' plane x = 0 holds both."""
    both: npt.NDArray[np.float32] = (plane + np.roll(plane[::-1, ::-1], 1, axis=(0, 1))) / np.sqrt(np.float32(2))
    return both
