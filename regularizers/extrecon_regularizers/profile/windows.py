"""Radial amplitude profiles of the windows around many voxels.

Where a window's weight is a product of one factor an axis, its transform is three small matrix products. The
windows of neighbours share the first two of them, so that a profile costs a fraction of a transform of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.lattice import Lattice

Corner = tuple[int, int, int]
Places = npt.NDArray[np.int64]

_TILE = 48  # lattice points along y and x worked on together: what they share stays small
_TOGETHER = 256  # windows transformed at once: their spectra fit the cache
_EDGE_SIGMAS = 2.25  # how many standard deviations from the middle of a round window its faces lie


@dataclass(frozen=True)
class Window:
    """A cube of voxels around a centre, weighted, and the shells of its spectrum.

    The cube holds the voxels c − h … c + h − 1 along each axis, h = size / 2.

    Attributes
    ----------
    size : edge length, voxels; even
    taper : (size,) weight along each axis; the weight of a voxel is the product of three
    octant : only frequencies ≥ 0 along all axes count, and shells hold radii from r to r + 1, as in LocScale; else
        all directions count, and shells hold radii nearest to r
    """

    size: int
    taper: npt.NDArray[np.float64]
    octant: bool

    @property
    def half(self) -> int:
        """Half the edge, voxels; also the last shell."""
        return self.size // 2

    def frequencies(self) -> npt.NDArray[np.int64]:
        """Return the frequencies along z and y, (m,), in cycles per window; along x they run 0 … half."""
        positive = np.arange(self.half + 1)
        return positive if self.octant else np.concatenate([positive, np.arange(1 - self.half, 0)])

    def shells(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return the shell of each frequency (z, y, x), half + 1 for none, and its multiplicity along x."""
        along = self.frequencies()
        last = np.arange(self.half + 1)
        radius = np.sqrt(along[:, None, None] ** 2 + along[:, None] ** 2 + last**2)
        shell = np.floor(radius if self.octant else radius + 0.5).astype(np.int64)
        multiplicity = np.where(self.octant | (last % self.half == 0), 1.0, 2.0)
        return np.minimum(shell, self.half + 1), multiplicity


def cube(size: int) -> Window:
    """Return the window of LocScale: no taper."""
    return Window(size, np.ones(size), octant=True)


def ball(size: int) -> Window:
    """Return a round window: a Gaussian, which is the one weight that is both round and a product."""
    half = size // 2
    return Window(size, np.exp(-0.5 * (_EDGE_SIGMAS * (np.arange(size) - half) / half) ** 2), octant=False)


def size_for(pixel_size_angstrom: float, width_angstrom: float) -> int:
    """Return a window's edge: the next even number of voxels."""
    size = int(np.ceil(width_angstrom / pixel_size_angstrom))
    return max(size + size % 2, 4)


def local_profiles(
    volume: Array, corner: Corner, lattice: Lattice, window: Window, compute: Compute
) -> npt.NDArray[np.float32]:
    """Return the mean amplitude of each shell of the window around each wanted point of a lattice.

    Parameters
    ----------
    volume : (z, y, x) float32 device array that holds every window
    corner : where its first voxel lies in the lattice's box, voxels z, y, x; negative where it was padded
    lattice : the windows' centres
    window : their weights and shells
    compute : where to work

    Returns
    -------
    (wanted points, half + 1) array, in the order of ``lattice.wanted``
    """
    profiles = np.empty((int(lattice.wanted.sum()), window.half + 1), dtype=np.float32)
    place = np.full(lattice.wanted.shape, -1, dtype=np.int64)
    place[lattice.wanted] = np.arange(len(profiles))
    transform = _WindowTransform(window, compute)
    begins = [points - window.half - start for points, start in zip(lattice.points, corner, strict=True)]
    tiles = list(_tiles(lattice.wanted))

    def work(part: slice) -> None:
        for rows, columns in tiles[part]:
            tile = _Tile(volume, (begins[0], begins[1][rows], begins[2][columns]), transform)
            for plane, found in tile.profiles(lattice.wanted[:, rows, columns]):
                here = place[plane, rows, columns]
                profiles[here[here >= 0]] = found

    # The products are small: more than one thread in each of them would only wait for the other.
    with threadpool_limits(1, user_api="blas"):
        compute.over_slabs(work, len(tiles))
    return profiles


def _tiles(wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[slice, slice]]:
    """Yield the parts along y and x that hold wanted points."""
    _, rows, columns = wanted.shape
    for y in range(0, rows, _TILE):
        for x in range(0, columns, _TILE):
            part = slice(y, y + _TILE), slice(x, x + _TILE)
            if wanted[:, part[0], part[1]].any():
                yield part


class _WindowTransform:
    """The matrices that make a window's profile."""

    def __init__(self, window: Window, compute: Compute) -> None:
        self.window, self.compute = window, compute
        voxels, last = np.arange(window.size), np.arange(window.half + 1)
        along = window.frequencies()
        shell, multiplicity = window.shells()
        self.pairs = np.nonzero((shell <= window.half).any(axis=0))  # (y, x) frequencies that any shell holds
        used = shell[:, self.pairs[0], self.pairs[1]].reshape(-1)
        weights = np.zeros((window.half + 2, used.size))
        weights[used, np.arange(used.size)] = np.broadcast_to(
            multiplicity[self.pairs[1]], (len(along), len(self.pairs[1]))
        ).reshape(-1)
        weights = weights[:-1] / weights[:-1].sum(axis=1, keepdims=True)
        self.mean = compute.to_device(weights, np.float32)
        self.along_x = self._matrix(voxels, last)
        self.along = compute.to_device(self._factors(voxels, along).T, np.complex64)

    def _factors(self, voxels: npt.NDArray[np.int64], along: npt.NDArray[np.int64]) -> npt.NDArray[np.complex128]:
        phase = np.exp(-2j * np.pi * np.outer(voxels, along) / self.window.size)
        factors: npt.NDArray[np.complex128] = self.window.taper[:, None] * phase
        return factors

    def _matrix(self, voxels: npt.NDArray[np.int64], along: npt.NDArray[np.int64]) -> Array:
        """Return (voxels, 2 frequencies): real and imaginary parts side by side, to multiply real numbers."""
        factors = self._factors(voxels, along)
        return self.compute.to_device(
            np.stack([factors.real, factors.imag], axis=-1).reshape(len(voxels), -1), np.float32
        )


class _Tile:
    """The windows that begin at some planes, rows and columns of voxels, plane after plane."""

    def __init__(self, volume: Array, begins: tuple[Places, Places, Places], transform: _WindowTransform) -> None:
        self._transform = transform
        size = transform.window.size
        self._planes, rows, columns = begins
        compute, offsets = transform.compute, np.arange(size)
        self._strip = volume[:, int(rows[0]) : int(rows[-1]) + size]
        self._rows = compute.to_device((rows - rows[0])[:, None] + offsets)
        self._columns = compute.to_device(columns[:, None] + offsets)
        self._known: dict[int, Array] = {}

    def profiles(self, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Yield a plane's number and the profiles of its wanted windows, for each plane that has some."""
        size = self._transform.window.size
        for plane, start in enumerate(self._planes):
            chosen = np.flatnonzero(wanted[plane])
            if chosen.size == 0:
                continue
            slabs = range(int(start), int(start) + size)
            self._known = {z: self._known[z] if z in self._known else self._transformed(z) for z in slabs}
            parts = [self._finished(chosen[i : i + _TOGETHER]) for i in range(0, chosen.size, _TOGETHER)]
            yield plane, np.concatenate(parts)

    def _transformed(self, z: int) -> Array:
        """Return the transforms over y and x of all windows in one plane of voxels: (pairs, windows)."""
        xp, transform = self._transform.compute.xp, self._transform
        along_x = self._strip[z][:, self._columns] @ transform.along_x
        rows, windows = along_x.shape[:2]
        spectrum = along_x.reshape(rows, -1).view(xp.complex64)
        gathered = transform.along @ spectrum[self._rows]
        both = gathered.reshape(len(self._rows), gathered.shape[1], windows, -1)
        pairs = both[:, transform.pairs[0], :, transform.pairs[1]]
        return pairs.reshape(len(transform.pairs[0]), -1)

    def _finished(self, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the profiles of some windows: (chosen, half + 1)."""
        transform = self._transform
        xp, compute = transform.compute.xp, transform.compute
        index = compute.to_device(chosen)
        planes = xp.stack([plane[:, index] for plane in self._known.values()])
        spectrum = transform.along @ planes.reshape(planes.shape[0], -1)
        amplitude = xp.sqrt(spectrum.real**2 + spectrum.imag**2).reshape(-1, len(chosen))
        found: npt.NDArray[np.float32] = compute.to_numpy((transform.mean @ amplitude).T)
        return found
