"""The filter bank of a scalar field, H v = Σ W_i (h_i ∗ v) / Σ W_i, in its low-rank form.

At each voxel the bank is a radial filter that depends on a scalar field there (a local resolution, say). All those
filters together are a matrix, values of the field × frequencies, and where the weights are broad its rank is low:
a dozen products a_r b_r rebuild it. So H v = Σ_r a_r(field) · (b_r ∗ v), one inverse transform for each of a few
combined filters b_r in place of one for each band.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError
from extrecon.fourier.block_transform import radial_table
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.filter_bank import FilterBank, Values, bounding_block

_NODES = (
    2049  # of the field's range; linear interpolation between them errs by (range / 2048)² / 8 of the curvature
)
_NARROWEST = 1e-9  # a field with a smaller range is uniform


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


def bank_of_field(
    compute: Compute,
    field: npt.NDArray[np.floating],
    inside: npt.NDArray[np.bool_],
    bands: Bands,
    tolerance: float,
    *,
    dtype: npt.DTypeLike = np.float32,
    whole_box: bool = False,
) -> FilterBank:
    """Return the filter bank of a field.

    Parameters
    ----------
    compute : where to work
    field : (n, n, n) array, axes z, y, x; read inside the region only
    inside : (n, n, n) boolean array: the region
    bands : filters and weights
    tolerance : largest error of the gain of any voxel's filter at any frequency, as a fraction of the largest gain
    dtype : float32 or float64
    whole_box : work on the whole box rather than on the region's bounding block

    Raises
    ------
    RegularizerError : the region is empty, or the arrays do not match.
    """
    _check(field, inside)
    box = field.shape[0]
    region = (slice(0, box),) * 3 if whole_box else bounding_block(inside)
    values, within = field[region].astype(np.float64), inside[region]
    nodes = np.linspace(float(values[within].min()), float(values[within].max()), _NODES)
    node_factors, tables, errors = low_rank(bands, nodes, box, tolerance)
    factors = FieldFactors(compute, node_factors, values, within, np.dtype(dtype), 2 * box**3)
    return FilterBank(compute, box, region, factors, tables, errors, dtype)


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


def _check(field: npt.NDArray[np.floating], inside: npt.NDArray[np.bool_]) -> None:
    if field.ndim != 3 or len(set(field.shape)) != 1 or field.shape != inside.shape:
        raise RegularizerError(
            f"A filter bank needs a cubic field and a region of its shape, not {field.shape} and {inside.shape}."
        )
    if not inside.any():
        raise RegularizerError(
            "The filter bank's region holds no voxel: give a mask or a resolution map that does."
        )
