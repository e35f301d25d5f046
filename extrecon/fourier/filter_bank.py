"""The spatially varying filter bank H v = Σ W_i (h_i ∗ v) / Σ W_i, in its low-rank form.

At each voxel the bank is a radial filter that depends on a scalar field there (a local resolution, say). All those
filters together are a matrix, values of the field × frequencies, and where the weights are broad its rank is low:
a dozen products a_r b_r rebuild it. So H v = Σ_r a_r(field) · (b_r ∗ v), one inverse transform for each of a few
combined filters b_r in place of one for each band. The terms come in order of size; taking fewer is cheaper and
coarser, by an error that the bank knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError
from extrecon.fourier.block_transform import BlockTransform, radial_table
from extrecon.fourier.compute import Array, Compute

Values = npt.NDArray[np.float64]

_NODES = (
    2049  # of the field's range; linear interpolation between them errs by (range / 2048)² / 8 of the curvature
)
_NARROWEST = 1e-9  # a field with a smaller range is uniform
_TERMS_TOGETHER = 3  # combined filters in flight: more is a little faster, and takes a half-spectrum's memory each


@dataclass(frozen=True)
class Bands:
    """What the bank is made of: radial filters, and how much of each a value of the field takes.

    Attributes
    ----------
    gains : takes (m,) frequencies, cycles per voxel; returns (bands, m) gains h_i
    weights : takes (p,) values of the field; returns (p, bands) weights, normalised as wanted
    """

    gains: Callable[[Values], Values]
    weights: Callable[[Values], Values]


class FilterBank:
    """The spatially varying filter bank of a scalar field, applied inside a region and 0 elsewhere.

    Memory beyond input and output: (1 + 3 b_z / n) half-spectra of the block, each the size of an (b_z, n, n) array
    of the working type, b_z being the region's extent along z; the combined filters are streamed three at a time.

    Parameters
    ----------
    compute : where to work
    field : (n, n, n) array, axes z, y, x; read inside the region only
    inside : (n, n, n) boolean array: the region
    bands : filters and weights
    tolerance : largest error of the gain of any voxel's filter at any frequency, as a fraction of the largest gain
    dtype : float32 or float64
    whole_box : work on the whole box rather than on the region's bounding block

    Attributes
    ----------
    region : slices z, y, x of the bounding block; `apply` returns arrays of its shape
    rank : number of combined filters
    errors : (rank + 1,) largest error of any gain when only the first 0, 1, … rank terms are used

    Raises
    ------
    RegularizerError : the region is empty, or the arrays do not match.
    """

    def __init__(
        self,
        compute: Compute,
        field: npt.NDArray[np.floating],
        inside: npt.NDArray[np.bool_],
        bands: Bands,
        tolerance: float,
        *,
        dtype: npt.DTypeLike = np.float32,
        whole_box: bool = False,
    ) -> None:
        _check(field, inside)
        self.compute, self.dtype, self.box = compute, np.dtype(dtype), field.shape[0]
        self.region = (slice(0, self.box),) * 3 if whole_box else bounding_block(inside)
        block = tuple(part.stop - part.start for part in self.region)
        values = field[self.region].astype(np.float64)
        within = inside[self.region]
        low, high = float(values[within].min()), float(values[within].max())
        nodes = np.linspace(low, high, _NODES)
        node_factors, tables, self.errors = low_rank(bands, nodes, self.box, tolerance)
        self.rank = tables.shape[0]
        self._factors = FieldFactors(compute, node_factors, values, within, self.dtype, 2 * self.box**3)
        band = highest_frequency(tables, self.box)
        self._buffers: dict[tuple[int, ...], Array] = {}
        self._block = BlockTransform(compute, self.box, (block[0], block[1], block[2]), band)
        self._whole = BlockTransform(compute, self.box, None, band)
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


class FieldFactors:
    """The factors a_r at each voxel of a block, interpolated between nodes of the field's range.

    Kept as they are if all of them take no more than two boxes' memory, else as a node's number and a fraction a
    voxel, whatever the rank.
    """

    def __init__(
        self,
        compute: Compute,
        node_factors: Values,
        values: Values,
        within: npt.NDArray[np.bool_],
        dtype: npt.DTypeLike,
        room: int,
    ) -> None:
        steps = node_factors.shape[1] - 1
        low, high = values[within].min(), values[within].max()
        place = np.where(within, (values - low) * (steps / max(float(high - low), _NARROWEST)), 0.0)
        node = np.minimum(place.astype(np.int32), steps - 1)
        # Outside the region the node is the last row, which holds zeros.
        outside = np.zeros((node_factors.shape[0], 1))
        self._base = compute.to_device(np.hstack([node_factors, outside]), dtype)
        self._slope = compute.to_device(np.hstack([np.diff(node_factors), outside, outside]), dtype)
        self._node = compute.to_device(np.where(within, node, steps + 1), np.int64)
        self._fraction = compute.to_device(place - node, dtype)
        self._kept: Array | None = None
        if len(node_factors) * values.size <= room:
            self._kept = compute.to_device(np.empty((len(node_factors), *values.shape), dtype))
            for term in range(len(node_factors)):
                self._kept[term] = self.slab(slice(term, term + 1), slice(None), fresh=True)[0]

    def slab(self, group: slice, planes: slice, fresh: bool = False) -> Array:
        """Return the factors of some terms on some planes: (terms, z, y, x)."""
        if self._kept is not None and not fresh:
            return self._kept[group, planes]
        node = self._node[planes]
        return self._base[group][:, node] + self._slope[group][:, node] * self._fraction[planes]


def low_rank(bands: Bands, nodes: Values, box: int, tolerance: float) -> tuple[Values, Values, Values]:
    """Split a bank's filters into few products of a factor of the field and a radial filter.

    Parameters
    ----------
    bands : filters and weights
    nodes : (p,) values of the field
    box : edge length, voxels
    tolerance : largest error of any gain, as a fraction of the largest gain

    Returns
    -------
    factors : (rank, p), a_r at the nodes
    tables : (rank, 3 (box // 2)² + 1), b_r at the squared frequencies, see `radial_table`
    errors : (rank + 1,), largest error of any gain with the first 0, 1, … rank terms
    """
    tables = radial_table(box, bands.gains)
    weights = bands.weights(nodes)
    # Frequencies a quarter of a shell apart stand for all: the filters of a bank are wider than that.
    shells = np.unique(np.rint((np.arange(4 * box) / 4) ** 2).astype(np.int64))
    sampled = tables[:, shells[shells < tables.shape[1]]]
    basis, triangle = np.linalg.qr(weights)
    left, _, _ = np.linalg.svd(triangle @ sampled, full_matrices=False)
    factors = (basis @ left).T
    combined = (left.T @ triangle) @ sampled
    errors = _truncation_errors(factors, combined, tolerance)
    rank = len(errors) - 1
    return factors[:rank], (left[:, :rank].T @ triangle) @ tables, errors


def _truncation_errors(factors: Values, combined: Values, tolerance: float) -> Values:
    """Return the largest absolute error left by 0, 1, … terms, up to the first within ``tolerance``."""
    remainder = factors.T @ combined
    errors = [float(np.abs(remainder).max())]
    for factor, table in zip(factors, combined, strict=True):
        if errors[-1] <= tolerance * errors[0]:
            break
        remainder -= np.outer(factor, table)
        errors.append(float(np.abs(remainder).max()))
    return np.array(errors)


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


def _check(field: npt.NDArray[np.floating], inside: npt.NDArray[np.bool_]) -> None:
    if field.ndim != 3 or len(set(field.shape)) != 1 or field.shape != inside.shape:
        raise RegularizerError(
            f"A filter bank needs a cubic field and a region of its shape, not {field.shape} and {inside.shape}."
        )
    if not inside.any():
        raise RegularizerError(
            "The filter bank's region holds no voxel: give a mask or a resolution map that does."
        )
