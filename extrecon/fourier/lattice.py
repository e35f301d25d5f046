"""Numbers known on a coarse lattice of voxels, and between its points by interpolation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Array, Compute

Block = tuple[slice, slice, slice]


class Lattice:
    """Every ``stride``-th voxel of a block along each axis, beginning at its corner.

    The last points may lie up to ``stride − 1`` voxels beyond the block, so that every voxel of it has points all
    around.

    Parameters
    ----------
    inside : (n, n, n) booleans, axes z, y, x: the voxels that are wanted
    block : slices z, y, x of a block that holds them all
    stride : voxels between points; 1 for every voxel

    Attributes
    ----------
    points : (nz,), (ny,), (nx,) coordinates of the points in the box, voxels
    wanted : (nz, ny, nx) booleans: the points that a wanted voxel is interpolated from
    """

    def __init__(self, inside: npt.NDArray[np.bool_], block: Block, stride: int) -> None:
        self.block, self.stride = block, stride
        lengths = [part.stop - part.start for part in block]
        counts = [-(-(length - 1) // stride) + 1 for length in lengths]
        z, y, x = (part.start + stride * np.arange(count) for part, count in zip(block, counts, strict=True))
        self.points = (z, y, x)
        self.wanted = self._needed(inside[block], (counts[0], counts[1], counts[2]))

    def _needed(self, inside: npt.NDArray[np.bool_], counts: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
        """Return the points that stand at a corner of a cell with a wanted voxel."""
        if self.stride == 1:
            return inside
        wanted = np.zeros(counts, dtype=np.bool_)
        cell = [places // self.stride for places in np.nonzero(inside)]
        for corner in np.ndindex(2, 2, 2):
            z, y, x = (np.minimum(c + up, count - 1) for c, up, count in zip(cell, corner, counts, strict=True))
            wanted[z, y, x] = True
        return wanted


class LatticeFactors:
    """A filter bank's factors at the voxels of a block, interpolated linearly along each axis.

    Parameters
    ----------
    compute : where to work
    lattice : the points
    values : (wanted points, terms) numbers, in the order of ``lattice.wanted``
    inside : (n, n, n) booleans: elsewhere the factors are 0
    """

    def __init__(
        self,
        compute: Compute,
        lattice: Lattice,
        values: npt.NDArray[np.floating],
        inside: npt.NDArray[np.bool_],
    ) -> None:
        self._compute, self._lattice = compute, lattice
        coarse = np.zeros((values.shape[1], *lattice.wanted.shape), dtype=np.float32)
        coarse[:, lattice.wanted] = values.T
        self._coarse = compute.to_device(coarse)
        self._inside = compute.to_device(inside[lattice.block], np.float32)

    def slab(self, group: slice, planes: slice) -> Array:
        """Return the factors of some terms on some planes: (terms, z, y, x)."""
        inside = self._inside[planes]
        if self._lattice.stride == 1:
            return self._coarse[group, planes] * inside
        depth, height, width = self._inside.shape
        first, last, _ = planes.indices(depth)
        slab = self._coarse[group]
        for axis, places in enumerate((np.arange(first, last), np.arange(height), np.arange(width)), start=1):
            slab = self._interpolated(slab, places, axis)
        return slab * inside

    def _interpolated(self, array: Array, places: npt.NDArray[np.int64], axis: int) -> Array:
        """Interpolate along an axis, at voxels counted from the block's corner."""
        compute, stride = self._compute, self._lattice.stride
        low, share = places // stride, (places % stride) / stride
        high = np.where(share > 0, low + 1, low)
        below, above = (compute.xp.take(array, compute.to_device(index), axis=axis) for index in (low, high))
        weight = compute.to_device(share, np.float32).reshape([-1 if a == axis else 1 for a in range(4)])
        return below + weight * (above - below)
