"""Fourier transforms between a block of voxels and a block of low frequencies of a cyclic box.

A map that is zero outside a block, or wanted only there, or that holds no high frequencies, needs far fewer
one-dimensional transforms than the whole box does. The four steps here are given slab by slab, so that what is
done between them finds its numbers still in the processor's cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from array_api_compat import device

from extrecon.fourier.compute import Array, Compute


def radial_table(
    box: int, gain: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    """Return a radial filter's gain at every frequency of a box.

    Parameters
    ----------
    box : edge length, voxels
    gain : takes frequencies, cycles per voxel (0 to √3/2), and returns gains of the same shape

    Returns
    -------
    (3 (box // 2)² + 1,) array, indexed by the squared distance from the origin in Fourier pixels
    """
    squared = np.arange(3 * (box // 2) ** 2 + 1, dtype=np.float64)
    return gain(np.sqrt(squared) / box)


class BlockTransform:
    """The transforms of a (z, y, x) block of voxels, at the origin of a cyclic cube of ``box`` voxels.

    A spectrum is an array (..., kz, ky, kx). Along z and y its frequencies run 0 … ``band``, -``band`` … -1, or as
    usual when the band covers the box; along x they run 0 … ``band``. Between voxels and spectrum stands a *half*:
    an array (..., z, ky, kx). Leading axes are carried along. float32 gives complex64, float64 complex128.

    Parameters
    ----------
    compute : where to work
    box : edge of the cyclic cube, voxels
    block : edges of the block along z, y, x, voxels; the whole box if None
    band : highest frequency along any axis, Fourier pixels; ``box // 2`` if None
    """

    def __init__(
        self, compute: Compute, box: int, block: tuple[int, int, int] | None = None, band: int | None = None
    ) -> None:
        self.compute = compute
        self.box = box
        self.block = block or (box, box, box)
        limit = box // 2
        self.band = limit if band is None else min(band, limit)
        self._full = 2 * self.band + 1 >= box
        rows = box if self._full else 2 * self.band + 1
        self.half_shape = (self.block[0], rows, self.band + 1)
        signed = np.arange(rows)
        signed[self.band + 1 :] -= rows
        self.signed_frequencies = signed
        self._unsigned = compute.to_device(np.abs(signed))
        self._squared = compute.to_device(signed.astype(np.int64) ** 2)
        self._local = threading.local()

    def squared_frequency(self, columns: slice) -> Array:
        """Return |k|² in Fourier pixels for kz ≥ 0: (band + 1, ky, kx) integers, to index a `radial_table`."""
        squared, top = self._squared, self.band + 1
        return squared[:top, None, None] + squared[None, columns, None] + squared[None, None, :top]

    def octant(self, tables: Array) -> Array:
        """Return radial gains (m, squared frequency) at non-negative frequencies: (m, kz, ky, kx)."""
        squared = self._squared[: self.band + 1]
        return tables[:, squared[:, None, None] + squared[None, :, None] + squared[None, None, :]]

    def gains(self, octant: Array, columns: slice) -> Array:
        """Return one octant's gains for some columns, as `scaled` takes them: (kz ≥ 0, ky, kx)."""
        return octant[:, self._unsigned[columns]]

    def scaled(self, spectrum: Array, gain: Array) -> Array:
        """Return (..., kz, ky, kx) ``spectrum`` times an even ``gain`` given for kz ≥ 0 alone."""
        xp, top = self.compute.xp, self.band + 1
        result = xp.empty_like(spectrum)
        mirrored = xp.flip(gain[..., 1 : 1 + self.half_shape[1] - top, :, :], axis=-3)
        result[..., :top, :, :] = spectrum[..., :top, :, :] * gain
        result[..., top:, :, :] = spectrum[..., top:, :, :] * mirrored
        return result

    def forward_planes(self, voxels: Array) -> Array:
        """Transform planes (..., z, y, x) of the block over y and x: (..., z, ky, kx)."""
        along_x = self.compute.rfft(voxels, self.box, -1)[..., : self.band + 1]
        return self._cut(self.compute.fft(along_x, self.box, -2), -2)

    def forward_columns(self, half: Array) -> Array:
        """Transform columns (..., z, ky, kx) of a half over z: (..., kz, ky, kx)."""
        return self.cut_columns(self.compute.fft(half, self.box, -3))

    def cut_columns(self, spectrum: Array) -> Array:
        """Keep of all ``box`` frequencies along z those of the band."""
        return self._cut(spectrum, -3)

    def inverse_columns(self, spectrum: Array) -> Array:
        """Invert `forward_columns`; may overwrite ``spectrum``."""
        columns = self.compute.ifft(self._padded_columns(spectrum), self.box, -3)
        return columns[..., : self.block[0], :, :]

    def inverse_planes(self, half: Array) -> Array:
        """Invert `forward_planes`; may overwrite ``half``."""
        if self._full:
            along_y = self.compute.ifft(half, self.box, -2)
        else:
            along_y, top, bottom = self._workspace(half), self.band + 1, self.box - self.band
            columns = along_y[..., :top]
            columns[..., :top, :] = half[..., :top, :]
            columns[..., top:bottom, :] = 0
            columns[..., bottom:, :] = half[..., top:, :]
            self.compute.ifft_in_place(columns, -2)
        along_x = self.compute.irfft(along_y[..., : self.block[1], :], self.box, -1)
        return along_x[..., : self.block[2]]

    def _workspace(self, half: Array) -> Array:
        """Return this thread's array for whole planes of a half; along x it is and stays 0 beyond the band."""
        planes = tuple(half.shape[:-2])
        held = getattr(self._local, "planes", None)
        if held is None or held.shape[:-2] != planes or held.dtype != half.dtype:
            held = self.compute.zeros_like(half, (*planes, self.box, self.box // 2 + 1))
            self._local.planes = held
        return held

    def _padded_columns(self, spectrum: Array) -> Array:
        if self._full:
            return spectrum
        top, bottom = self.band + 1, self.box - self.band
        shape = (*spectrum.shape[:-3], self.box, *spectrum.shape[-2:])
        wide = self.compute.xp.empty(shape, dtype=spectrum.dtype, device=device(spectrum))
        wide[..., :top, :, :] = spectrum[..., :top, :, :]
        wide[..., top:bottom, :, :] = 0
        wide[..., bottom:, :, :] = spectrum[..., top:, :, :]
        return wide

    def _cut(self, array: Array, axis: int) -> Array:
        if self._full:
            return array
        low = array[_along(axis, slice(0, self.band + 1))]
        high = array[_along(axis, slice(self.box - self.band, None))]
        return self.compute.xp.concat([low, high], axis=axis)


def radially_filtered(
    block: Array, box: int, gain: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], compute: Compute
) -> Array:
    """Filter a (z, y, x) block of a cyclic cube that is 0 elsewhere; return the result on the block.

    Parameters
    ----------
    block : device array
    box : edge of the cube, voxels
    gain : takes frequencies, cycles per voxel, and returns gains of the same shape
    compute : where to work
    """
    table = radial_table(box, gain)
    transform = BlockTransform(compute, box, tuple(block.shape), int(np.sqrt(np.flatnonzero(table)[-1])))
    gains = compute.to_device(table)
    planes, rows, _ = transform.half_shape
    result = compute.xp.empty_like(block)
    half = compute.to_device(np.empty(transform.half_shape, np.complex128))

    def forward(part: slice) -> None:
        half[part] = transform.forward_planes(block[part])

    def filtered(part: slice) -> None:
        spectrum = transform.forward_columns(half[:, part] + 0)
        gain_here = gains[transform.squared_frequency(part)]
        half[:, part] = transform.inverse_columns(transform.scaled(spectrum, gain_here))

    def inverse(part: slice) -> None:
        result[part] = transform.inverse_planes(half[part])

    compute.over_slabs(forward, planes)
    compute.over_slabs(filtered, rows)
    compute.over_slabs(inverse, planes)
    return result


def _along(axis: int, part: slice) -> tuple[object, ...]:
    """Return the index that takes ``part`` of a negative ``axis``."""
    return (..., part, *(slice(None),) * (-axis - 1))
