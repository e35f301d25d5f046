"""Whether two half-maps belong together."""

from __future__ import annotations

import numpy as np

from extrecon.errors import MapError
from extrecon.maps.half_map import FloatArray, HalfMap
from extrecon.maps.mrc import differing_pixel_sizes

_SAME_CONTENT = 1e-7
"""Two maps that differ less, as 1 − correlation, are one map: half precision leaves 1e-8, and noise far more."""


def check_halves(first: HalfMap, second: HalfMap, names: tuple[str, str]) -> tuple[str, ...]:
    """Refuse two maps that cannot be the halves of one data set; return what should be told of them.

    Raises
    ------
    MapError : they differ in box or pixel size, or are the same map, perhaps on another scale.
    """
    if first.box != second.box:
        raise MapError(f"{names[0]} is {first.box}³ voxels, but {names[1]} is {second.box}³.")
    notes = differing_pixel_sizes(names[0], first.pixel_size_angstrom, names[1], second.pixel_size_angstrom)
    if same_content(first.density, second.density):
        raise MapError(
            f"{names[0]} and {names[1]} hold the same map, so their agreement tells nothing; give both half-maps."
        )
    return notes


def same_content(first: FloatArray, second: FloatArray) -> bool:
    """Tell whether two maps are equal but for their grey scale; plane by plane, to make no copies."""
    sums = np.zeros(5)
    for one, other in zip(first, second, strict=True):
        a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
        sums += a.sum(), b.sum(), a @ a, b @ b, a @ b
    mean_a, mean_b, square_a, square_b, product = sums / first.size
    variances = (square_a - mean_a**2) * (square_b - mean_b**2)
    if not variances > 0:
        return np.array_equal(first, second)
    return bool(1.0 - (product - mean_a * mean_b) / np.sqrt(variances) < _SAME_CONTENT)
