"""The spatially varying filter bank H v = Σ_r a_r · (b_r ∗ v): factors a_r for each voxel, radial filters b_r.

Few filters serve many voxels: one inverse transform for each of them gives every voxel a filter of its own. Where
the terms come in order of size, taking fewer is cheaper and coarser, by an error that the bank knows.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError
from extrecon.fourier.block_transform import BlockTransform
from extrecon.fourier.compute import Array, Compute

Values = npt.NDArray[np.float64]

_TERMS_TOGETHER = 3  # combined filters in flight: more is a little faster, and takes a half-spectrum's memory each


class Factors(Protocol):
    """The factors a_r of a bank at each voxel of its block."""

    def slab(self, group: slice, planes: slice) -> Array:
        """Return the factors of some terms on some planes: (terms, z, y, x)."""


class FilterBank:
    """A spatially varying filter bank, applied inside a region and 0 elsewhere.

    Memory beyond input and output: (1 + 3 b_z / n) half-spectra of the block, each the size of an (b_z, n, n) array
    of the working type, b_z being the region's extent along z; the combined filters are streamed three at a time.

    Parameters
    ----------
    compute : where to work
    box : edge of the cube, voxels
    region : slices z, y, x of the bounding block; `apply` returns arrays of its shape
    factors : gives a_r at the voxels of the block, 0 outside the region
    tables : (rank, 3 (box // 2)² + 1), b_r at the squared frequencies, see `radial_table`
    errors : (rank + 1,) largest error of any gain when only the first 0, 1, … rank terms are used
    dtype : float32 or float64

    Attributes
    ----------
    region, errors : as given
    rank : number of combined filters
    """

    def __init__(
        self,
        compute: Compute,
        box: int,
        region: tuple[slice, slice, slice],
        factors: Factors,
        tables: Values,
        errors: Values,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.compute, self.dtype, self.box, self.region = compute, np.dtype(dtype), box, region
        self.rank, self.errors = tables.shape[0], errors
        self._factors = factors
        block = tuple(part.stop - part.start for part in region)
        band = highest_frequency(tables, box)
        self._buffers: dict[tuple[int, ...], Array] = {}
        self._block = BlockTransform(compute, box, (block[0], block[1], block[2]), band)
        self._whole = BlockTransform(compute, box, None, band)
        self._octants = self._block.octant(compute.to_device(tables, self.dtype))

    def terms_for(self, error: float) -> int:
        """Return how many terms (at least 1) keep the gains' largest error within ``error``."""
        return max(1, int(np.argmax(self.errors <= error)) if self.errors[-1] <= error else self.rank)

    def apply(self, volume: Array, terms: int | None = None) -> Array:
        """Return H ``volume`` on the region's block.

        Parameters
        ----------
        volume : device array of the whole box, or of the block (then taken as 0 elsewhere)
        terms : how many of the terms to use; all if None
        """
        source, volume = self._placed(volume)
        half = self._forward(source, volume)
        result = self.compute.to_device(np.zeros(self._block.block, self.dtype))
        for group in _groups(self.rank if terms is None else min(terms, self.rank)):
            parts = self._filtered(source, half, group)
            self._gather(parts, group, result)
        return result

    def adjoint(self, block: Array) -> Array:
        """Return Hᵀ of an array on the region's block, restricted to that block.

        Hᵀ y = Σ_r b_r ∗ (a_r y), since radial filters are even. For the adjoint on the whole box build the bank
        with ``whole_box``.
        """
        xp, transform = self.compute.xp, self._block
        total = self._halves(transform, (1,))[0]
        total[...] = 0
        for term in range(self.rank):
            group = slice(term, term + 1)
            half = self._forward(transform, block, group)

            def columns(part: slice, half: Array = half, group: slice = group) -> None:
                spectrum = transform.forward_columns(half[:, part])
                gain = transform.gains(self._octants[group.start], part)
                total[:, part] += transform.inverse_columns(transform.scaled(spectrum, gain))

            self.compute.over_slabs(columns, transform.half_shape[1])
        result = xp.empty_like(block)

        def planes(part: slice) -> None:
            result[part] = transform.inverse_planes(total[part])

        self.compute.over_slabs(planes, transform.block[0])
        return result

    def _placed(self, volume: Array) -> tuple[BlockTransform, Array]:
        """Return the transform for ``volume``, and it with the region's corner at the origin."""
        if tuple(volume.shape) == self._block.block:
            return self._block, volume
        if tuple(volume.shape) != self._whole.block:
            raise RegularizerError(
                f"The filter bank's box is {self._whole.block} and its block {self._block.block}, "
                f"but the volume is {tuple(volume.shape)}: give one of the two shapes."
            )
        shift = tuple(-part.start for part in self.region)
        return self._whole, self.compute.xp.roll(volume, shift, axis=(0, 1, 2))

    def _halves(self, transform: BlockTransform, lead: tuple[int, ...]) -> Array:
        # Kept from call to call: memory that is new to the process costs more to touch than a transform does.
        shape = (*lead, *transform.half_shape)
        if shape not in self._buffers:
            kind = np.result_type(self.dtype, np.complex64)
            self._buffers[shape] = self.compute.to_device(np.empty(shape, kind))
        return self._buffers[shape]

    def _forward(self, transform: BlockTransform, volume: Array, group: slice | None = None) -> Array:
        half = self._halves(transform, ())

        def planes(part: slice) -> None:
            slab = volume[part] if group is None else volume[part] * self._factors.slab(group, part)[0]
            half[part] = transform.forward_planes(slab)

        self.compute.over_slabs(planes, transform.block[0])
        return half

    def _filtered(self, source: BlockTransform, half: Array, group: slice) -> Array:
        parts = self._halves(self._block, (group.stop - group.start,))

        def columns(part: slice) -> None:
            spectrum = source.forward_columns(half[:, part] + 0)  # a copy: the transform may overwrite its input
            for place, octant in enumerate(self._octants[group]):  # one by one: a term's columns fit the cache
                filtered = source.scaled(spectrum, source.gains(octant, part))
                parts[place, :, part] = self._block.inverse_columns(filtered)

        self.compute.over_slabs(columns, source.half_shape[1])
        return parts

    def _gather(self, parts: Array, group: slice, result: Array) -> None:
        def planes(part: slice) -> None:
            for half, factor in zip(parts, self._factors.slab(group, part), strict=False):
                filtered = self._block.inverse_planes(half[part])
                filtered *= factor
                result[part] += filtered

        self.compute.over_slabs(planes, self._block.block[0])


def bounding_block(inside: npt.NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Return the slices z, y, x of the smallest block that holds every True voxel."""
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return spans[0], spans[1], spans[2]


def highest_frequency(tables: Values, box: int) -> int:
    """Return the highest frequency along an axis, Fourier pixels, at which any radial table is not 0."""
    used = np.flatnonzero(np.abs(tables).max(axis=0) > 0)
    return min(box // 2, int(np.sqrt(used[-1])) if used.size else 0)


def _groups(terms: int) -> list[slice]:
    return [slice(start, min(start + _TERMS_TOGETHER, terms)) for start in range(0, terms, _TERMS_TOGETHER)]
