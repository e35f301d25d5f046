"""Scaling a map's amplitudes by factors that vary from voxel to voxel and from shell to shell.

Two forms. The cubes of LocScale: the map's window around each voxel is filtered and its middle kept, which is a sum
of few convolutions with fixed kernels, because the filter is linear between shells. Round windows: each voxel has a
radial filter of its own, linear between shells, and the filter bank applies it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from extrecon.fourier.block_transform import radial_table
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.filter_bank import FilterBank, bounding_block
from extrecon.fourier.lattice import Lattice, LatticeFactors
from extrecon.maps.half_map import FloatArray
from extrecon_regularizers.profile.windows import Corner, Window

Profiles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Padded:
    """A map with room for the windows of its outermost voxels.

    Attributes
    ----------
    volume : (z, y, x) float32 device array
    corner : where its first voxel lies in the box, voxels; negative where it was padded
    """

    volume: Array
    corner: Corner

    @classmethod
    def around(
        cls, density: FloatArray, inside: npt.NDArray[np.bool_], lattice: Lattice, half: int, compute: Compute
    ) -> Padded:
        """Cut out what the windows of a lattice cover; beyond the box lies the mean of what is not inside."""
        outside = density[~inside]
        level = float(outside.mean(dtype=np.float64)) if outside.size else 0.0
        spans = [(int(points[0]) - half, int(points[-1]) + half) for points in lattice.points]
        kept = tuple(slice(max(low, 0), min(high, len(density))) for low, high in spans)
        margins = [(part.start - low, high - part.stop) for part, (low, high) in zip(kept, spans, strict=True)]
        padded = np.pad(density[kept].astype(np.float32), margins, constant_values=np.float32(level))
        return cls(compute.to_device(padded), (spans[0][0], spans[1][0], spans[2][0]))


def ratio(wanted: Profiles, own: Profiles) -> Profiles:
    """Return ``wanted / own`` shell by shell, 0 where that is not a number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = wanted / own
    return np.where(np.isfinite(factors), factors, np.float32(0.0))


def scaled_by_kernels(
    padded: Padded,
    lattice: Lattice,
    factors: Profiles,
    inside: npt.NDArray[np.bool_],
    window: Window,
    compute: Compute,
) -> npt.NDArray[np.float32]:
    """Return the middles of the scaled windows at the voxels inside, 0 elsewhere: (n, n, n).

    Parameters
    ----------
    padded : the map
    lattice : where the factors are known
    factors : (points, half + 1) for each wanted point of the lattice
    inside : (n, n, n) booleans
    window : the cube
    compute : where to work
    """
    field = LatticeFactors(compute, lattice, factors, inside)
    block = tuple(part.stop - part.start for part in lattice.block)
    total = compute.to_device(np.zeros(block, np.float32))
    skip = tuple(part.start - start for part, start in zip(lattice.block, padded.corner, strict=True))
    here = tuple(slice(first, first + length) for first, length in zip(skip, block, strict=True))
    for shell, filtered in enumerate(_filtered(padded.volume, window, compute)):
        total += field.slab(slice(shell, shell + 1), slice(None))[0] * filtered[here]
    result = np.zeros(inside.shape, np.float32)
    result[lattice.block] = compute.to_numpy(total)
    return result


def _filtered(volume: Array, window: Window, compute: Compute) -> Iterator[Array]:
    """Yield the volume's convolution with the kernel of each shell."""
    shape = tuple(scipy.fft.next_fast_len(length, real=True) for length in volume.shape)
    padded = compute.zeros_like(volume, shape)
    padded[tuple(slice(0, length) for length in volume.shape)] = volume
    spectrum = compute.rfftn(padded, axes=(0, 1, 2))
    for kernel in kernels(window):
        laid = np.zeros(shape, np.float32)
        # The kernel's voxel [h, h, h] is the window's middle; a convolution turns it over.
        laid[: window.size, : window.size, : window.size] = kernel[::-1, ::-1, ::-1]
        laid = np.roll(laid, 1 - window.half, axis=(0, 1, 2))
        transformed = compute.rfftn(compute.to_device(laid), axes=(0, 1, 2))
        yield compute.irfftn(spectrum * transformed, shape=shape, axes=(0, 1, 2))


def kernels(window: Window) -> npt.NDArray[np.float64]:
    """Return what each shell of a window's spectrum gives its middle voxel, (half + 1, size, size, size).

    A factor between two shells is interpolated linearly in radius, and is the last shell's beyond it.
    """
    axis = scipy.fft.fftfreq(window.size, 1 / window.size)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + np.arange(window.half + 1) ** 2)
    share = hats(radius, window.half)
    middle = np.exp(-1j * np.pi * (axis[:, None, None] + axis[:, None] + np.arange(window.half + 1)))
    found: npt.NDArray[np.float64] = scipy.fft.irfftn(share * middle, s=(window.size,) * 3, axes=(1, 2, 3))
    return found


def hats(radius: npt.NDArray[np.float64], last: int) -> npt.NDArray[np.float64]:
    """Return the weights of the shells 0 … last in a linear interpolation at each radius, (last + 1, …)."""
    reached = np.minimum(radius, last)
    return np.stack([np.clip(1 - np.abs(reached - shell), 0, 1) for shell in range(last + 1)])


def scaled_by_bank(
    density: FloatArray,
    lattice: Lattice,
    factors: Profiles,
    inside: npt.NDArray[np.bool_],
    window: Window,
    compute: Compute,
) -> npt.NDArray[np.float32]:
    """Return the map filtered at each voxel inside by its own radial filter, 0 elsewhere: (n, n, n).

    Parameters are those of `scaled_by_kernels`, with the whole map in place of the padded one.
    """
    box = len(density)
    reach = radial_table(box, lambda u: u * window.size)  # radius in shells of the window
    tables = hats(reach, window.half)
    field = LatticeFactors(compute, lattice, factors, inside)
    # Every term counts: their order says nothing of their size.
    errors = np.append(np.ones(len(tables)), 0.0)
    bank = FilterBank(compute, box, lattice.block, field, tables, errors)
    result = np.zeros(density.shape, np.float32)
    result[lattice.block] = compute.to_numpy(bank.apply(compute.to_device(density, np.float32)))
    return result


def lattice_of(inside: npt.NDArray[np.bool_], stride: int) -> Lattice:
    """Return the lattice over the voxels inside."""
    return Lattice(inside, bounding_block(inside), stride)
