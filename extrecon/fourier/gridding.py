"""Gridding weights: undo the uneven sampling of Fourier space by iterating against a blob's footprint.

Pipe & Menon, Magn. Reson. Med. 41, 179 (1999); Matej & Lewitt, IEEE Trans. Nucl. Sci. 48, 1361 (2001).

Sampling weights are real and symmetric through the origin, so their transform is real and symmetric too. Both
sides keep one half only: a convolution costs half of what a pair of real transforms costs, in half the memory.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import squared_radius
from extrecon.maps.half_map import FloatArray

ITERATIONS = 10
BLOB_RADIUS = 3.8
BLOB_ALPHA = 15.0
TABLE_LENGTH = 10_000
TABLE_END = 0.5
SMALLEST_FOOTPRINT = 1e-6
# While the largest footprint exceeds the smallest by more, single precision would lose the small ones.
SINGLE_PRECISION_SPREAD = 100.0
# The odd half of the footprint matters (above 1e-6 of the map) where the footprint steps by more at the rim, or
# where the step times the spread is more: what large weights leave at far points then counts beside small ones.
LOPSIDED_STEP = 0.005
LOPSIDED_STEP_TIMES_SPREAD = 1.0


def even_out(weight: Array, period: float, compute: Compute, iterations: int = ITERATIONS) -> Array:
    r"""Return weight · u, where u are the gridding weights that make (weight · u) ∗ blob as even as possible.

    Parameters
    ----------
    weight : (P, …, P // 2 + 1) half-complex float64 array in FFT order, symmetric through the origin, with zeros
        where nothing counts; P odd; 2 or 3 dimensions; overwritten
    period : edge of the padded image, px; the blob's footprint in real space is tabulated against x / period
    compute : where to work
    iterations : rounds u ← u / max(1e-6, \|(weight · u) ∗ blob\|), starting from u = 1

    Returns
    -------
    array like ``weight``, float32 or float64. The iteration is carried on this product: where the weight is 0, u is
    not needed.
    """
    xp = compute.xp
    footprint = _Footprint(weight.shape[0], weight.ndim, period, compute)
    fitted, precise = weight, True
    for _ in range(iterations):
        spread = _divide_by_convolution(fitted, footprint, compute, want_spread=precise)
        if precise and spread < SINGLE_PRECISION_SPREAD:
            fitted, precise = xp.astype(fitted, xp.float32), False
            footprint.keep()
    return fitted


def _divide_by_convolution(fitted: Array, footprint: _Footprint, compute: Compute, *, want_spread: bool) -> float:
    """Divide ``fitted`` in place by its convolution with the blob; return largest / smallest divisor."""
    xp = compute.xp
    modulus = _convolution_modulus(fitted, footprint, compute, with_odd=footprint.is_lopsided)
    spread = _spread(modulus, fitted, compute) if want_spread else 1.0
    if not footprint.is_lopsided and footprint.step * spread > LOPSIDED_STEP_TIMES_SPREAD:
        modulus = _convolution_modulus(fitted, footprint, compute, with_odd=True)
        spread = _spread(modulus, fitted, compute)

    def divide(slab: slice) -> None:
        fitted[slab] /= xp.clip(modulus[slab], SMALLEST_FOOTPRINT, None)

    compute.over_slabs(divide, fitted.shape[0])
    return spread


def _spread(modulus: Array, fitted: Array, compute: Compute) -> float:
    """Return the largest over the smallest divisor, where anything counts; 1 where nothing does."""
    xp = compute.xp
    extremes: list[tuple[float, float]] = []

    def look(slab: slice) -> None:
        counted = modulus[slab][fitted[slab] > 0]
        if counted.shape[0]:
            extremes.append((float(xp.min(counted)), float(xp.max(counted))))

    compute.over_slabs(look, fitted.shape[0])
    if not extremes:
        return 1.0
    lowest, highest = min(low for low, _ in extremes), max(high for _, high in extremes)
    return max(highest, SMALLEST_FOOTPRINT) / max(lowest, SMALLEST_FOOTPRINT)


def _convolution_modulus(array: Array, footprint: _Footprint, compute: Compute, *, with_odd: bool) -> Array:
    """Return |array ∗ blob| for a real, symmetric, half-stored array (periodic, as on RELION's own window)."""
    size, last = array.shape[0], array.ndim - 1
    others = tuple(range(last))
    # Nested calls and the early del keep no more than two arrays of a stage alive.
    real_space = compute.irfftn(compute.rfftn(array, axes=others), shape=(size,), axes=(last,))
    odd = footprint.times_odd_half(real_space) if with_odd else None
    spectrum = compute.rfftn(footprint.multiply_by_even_half(real_space), axes=(last,))
    del real_space
    modulus = compute.xp.abs(compute.irfftn(spectrum, shape=(size,) * last, axes=others))
    if odd is not None:
        # The transform of an odd real array is odd and imaginary: i times it is half-stored like an even one.
        spectrum = 1j * compute.rfftn(odd, axes=(last,))
        modulus = compute.xp.hypot(modulus, compute.irfftn(spectrum, shape=(size,) * last, axes=others))
    return modulus


class _Footprint:
    """The blob's transform on the real-space grid that `_convolution_modulus` works on.

    RELION counts index ``size // 2`` as the negative coordinate −(size // 2 + 1), so its footprint is not quite
    symmetric. Its odd half makes the convolution complex and enters the modulus in quadrature: it is left out
    where it is too small to matter, as in all but small boxes with weights of one order.
    """

    def __init__(self, size: int, dimensions: int, period: float, compute: Compute) -> None:
        index = np.arange(size)
        numbered = np.where(index < size // 2, index, index - size)
        half = size // 2 + 1
        self._compute = compute
        self._shape = (size,) * (dimensions - 2) + (half, size)
        along, opposite = (compute.to_device(c) for c in (numbered, numbered[-index % size]))
        # Transforming the last axis backwards and the others forwards mirrors the others.
        point = [opposite] * (dimensions - 2) + [opposite[:half], along]
        mirrored_point = [along] * (dimensions - 2) + [along[:half], opposite]
        self._sides = (point, mirrored_point)
        self._table = compute.to_device(_half_by_squared_radius(dimensions * int(numbered.min()) ** 2, period))
        self._kept: Array | None = None
        at_rim = kaiser_bessel_footprint(np.minimum(np.array([half - 1, half]) / period, TABLE_END))
        self.step = float(at_rim[0] - at_rim[1])
        self.is_lopsided = self.step > LOPSIDED_STEP

    def multiply_by_even_half(self, real_space: Array) -> Array:
        """Multiply in place: by float64 numbers computed on the way, or by float32 ones once kept."""

        def part(slab: slice) -> None:
            real_space[slab] *= self._even(slab) if self._kept is None else self._kept[slab]

        self._compute.over_slabs(part, real_space.shape[0])
        return real_space

    def times_odd_half(self, real_space: Array) -> Array:
        """Return the product with the odd half."""
        product = self._compute.zeros_like(real_space, self._shape)

        def part(slab: slice) -> None:
            first, second = self._sides_of(slab)
            product[slab] = real_space[slab] * (first - second)

        self._compute.over_slabs(part, product.shape[0])
        return product

    def keep(self) -> None:
        """Hold the even half in memory as float32 from now on."""
        kept = self._compute.zeros_like(self._compute.xp.astype(self._table, self._compute.xp.float32), self._shape)

        def fill(slab: slice) -> None:
            kept[slab] = self._even(slab)

        self._compute.over_slabs(fill, self._shape[0])
        self._kept = kept

    def _even(self, slab: slice) -> Array:
        first, second = self._sides_of(slab)
        return first + second

    def _sides_of(self, slab: slice) -> list[Array]:
        """Return half of the footprint at each point, and half of it at the point opposite."""
        return [self._table[squared_radius([axes[0][slab], *axes[1:]])] for axes in self._sides]


def _half_by_squared_radius(largest: int, period: float) -> npt.NDArray[np.float64]:
    """Tabulate half of the footprint against the squared integer radius, 0 to ``largest``."""
    position = np.sqrt(np.arange(largest + 1)) / period
    entry = np.floor(position / (TABLE_END / TABLE_LENGTH)).astype(np.int64)
    positions = np.linspace(0, TABLE_END, TABLE_LENGTH, endpoint=False)
    table = np.append(kaiser_bessel_footprint(positions), 0.0)
    halves: npt.NDArray[np.float64] = 0.5 * table[np.minimum(entry, TABLE_LENGTH)]
    return halves


def kaiser_bessel_footprint(position: FloatArray) -> npt.NDArray[np.float64]:
    """Return the 3D Fourier transform of a Kaiser-Bessel blob of order 0, divided by its value at 0.

    Lewitt, J. Opt. Soc. Am. A 7, 1834 (1990), eq. A3 with m = 0: proportional to I_{3/2}(z) / z^{3/2}, where
    z² = α² − (2π a x)², here written out in hyperbolic functions.

    Parameters
    ----------
    position : x, as a fraction of the padded image's edge; 2π a x must stay below α (it does up to 0.5)
    """

    def shape(z: FloatArray) -> npt.NDArray[np.float64]:
        value: npt.NDArray[np.float64] = (z * np.cosh(z) - np.sinh(z)) / z**3
        return value

    z = np.sqrt(BLOB_ALPHA**2 - (2 * np.pi * BLOB_RADIUS * position) ** 2)
    return shape(z) / shape(np.array(BLOB_ALPHA))
