"""Gridding weights: undo the uneven sampling of Fourier space by iterating against a blob's footprint.

Pipe & Menon, Magn. Reson. Med. 41, 179 (1999); Matej & Lewitt, IEEE Trans. Nucl. Sci. 48, 1361 (2001).

Sampling weights are real and symmetric through the origin, so their transform is real and symmetric too. Both
sides keep one half only, and one array holds a whole convolution: it is transformed in place, some planes or rows
at a time, whose real space is never all there at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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

Planes = Callable[[slice], Array]
"""Returns some planes of a half-complex array of the grid's shape."""


def even_out(
    weight: Planes, shape: tuple[int, int, int], period: float, compute: Compute, iterations: int = ITERATIONS
) -> Array:
    r"""Return weight · u, where u are the gridding weights that make (weight · u) ∗ blob as even as possible.

    Memory: the result, and one complex array of as many numbers as it, at first in double precision.

    Parameters
    ----------
    weight : planes of a half-complex float64 array in FFT order, symmetric through the origin, with zeros where
        nothing counts; each is asked for twice
    shape : (P, P, P // 2 + 1) of that array, P odd; (1, P, P // 2 + 1) in two dimensions
    period : edge of the padded image, px; the blob's footprint in real space is tabulated against x / period
    compute : where to work
    iterations : rounds u ← u / max(1e-6, \|(weight · u) ∗ blob\|), starting from u = 1

    Returns
    -------
    array of ``shape``, float32. The iteration is carried on this product: where the weight is 0, u is not needed.
    Rounding it harms only its own neighbourhood, while what a transform rounds is felt everywhere.
    """
    xp = compute.xp
    fitted = xp.empty(shape, dtype=xp.float32, device=compute.device)
    convolution = BlobConvolution(shape, period, compute)
    _first_convolution(weight, convolution)
    source = weight
    for left in reversed(range(iterations)):
        spread = _divide(source, convolution, fitted, take=left > 0 and not convolution.is_precise)
        source = fitted.__getitem__
        if left > 0:
            if convolution.is_precise:
                convolution.take(source, precise=spread >= SINGLE_PRECISION_SPREAD, spread=spread)
            convolution.run()
    return fitted


def _first_convolution(weight: Planes, convolution: BlobConvolution) -> None:
    """Convolve the weights, the most uneven array of all; once more where that shows that the odd half counts."""
    convolution.take(weight, precise=True)
    convolution.run()
    if convolution.with_odd_half:
        return
    xp = convolution.compute.xp
    extremes: list[tuple[float, float]] = []
    convolution.over_planes(lambda planes: _widen(extremes, weight(planes), convolution.modulus(planes), xp))
    spread = _spread(extremes)
    if convolution.odd_half_counts(spread):
        convolution.take(weight, precise=True, spread=spread)
        convolution.run()


def _widen(extremes: list[tuple[float, float]], values: Array, divisor: Array, xp: Any) -> None:
    """Append the smallest and the largest divisor of some planes, where anything counts."""
    counted = divisor[values > 0]
    if counted.shape[0]:
        extremes.append((float(xp.min(counted)), float(xp.max(counted))))


def _spread(extremes: list[tuple[float, float]]) -> float:
    """Return the largest over the smallest divisor; 1 where nothing counts."""
    if not extremes:
        return 1.0
    lowest, highest = min(low for low, _ in extremes), max(high for _, high in extremes)
    return max(highest, SMALLEST_FOOTPRINT) / max(lowest, SMALLEST_FOOTPRINT)


def _divide(source: Planes, convolution: BlobConvolution, fitted: Array, *, take: bool) -> float:
    """Put the source over its convolution into ``fitted``; return largest / smallest divisor where it is precise.

    Parameters
    ----------
    take : have the convolution take each plane as it is made
    """
    xp = convolution.compute.xp
    extremes: list[tuple[float, float]] = []

    def divide(planes: slice) -> None:
        divisor = xp.clip(convolution.modulus(planes), SMALLEST_FOOTPRINT, None)
        values = source(planes)
        if convolution.is_precise:
            _widen(extremes, values, divisor, xp)
        fitted[planes] = values / divisor
        if take:
            convolution.take_planes(planes, fitted[planes])

    convolution.over_planes(divide)
    return _spread(extremes)


class BlobConvolution:
    """The modulus of a real, symmetric, half-stored array's convolution with the blob, periodic as RELION's window.

    The array (z, y, x ≥ 0) becomes (z, ky ≥ 0, x ≥ 0) when it is taken, and that is all that is kept. With x
    transformed as well it is real, so that ky ≥ 0 suffices.

    Parameters
    ----------
    shape, period, compute : as `even_out` takes them

    Attributes
    ----------
    is_precise : whether transforms are in double precision
    with_odd_half : whether the footprint's odd half is taken into account
    """

    def __init__(self, shape: tuple[int, int, int], period: float, compute: Compute) -> None:
        self.compute = compute
        self.is_precise = True
        self._planes, self._size, self._half = shape
        self._footprint = _Footprint(self._planes, self._size, period, compute)
        self.with_odd_half = self.odd_half_counts(1.0)
        self._spectra: list[Array] = []

    def odd_half_counts(self, spread: float) -> bool:
        """Tell whether the odd half counts where the largest divisor is so many times the smallest."""
        step = self._footprint.step
        return step > LOPSIDED_STEP or step * spread > LOPSIDED_STEP_TIMES_SPREAD

    def take(self, source: Planes, *, precise: bool, spread: float = 1.0) -> None:
        """Begin with an array, given by its planes.

        Parameters
        ----------
        precise : transform in double precision
        spread : an upper bound of the largest divisor over the smallest
        """
        self.is_precise = precise
        self.with_odd_half = self.odd_half_counts(spread)
        xp = self.compute.xp
        shape, dtype = (self._planes, self._half, self._half), xp.complex128 if precise else xp.complex64
        self._spectra.clear()  # before there are others
        for _ in range(1 + self.with_odd_half):
            self._spectra.append(xp.empty(shape, dtype=dtype, device=self.compute.device))
        self.over_planes(lambda planes: self.take_planes(planes, source(planes)))

    def take_planes(self, planes: slice, values: Array) -> None:
        """Take some planes (z, y, x ≥ 0) of an array."""
        xp = self.compute.xp
        values = xp.astype(values, xp.float64 if self.is_precise else xp.float32, copy=False)
        self._spectra[0][planes] = self.compute.rfft(values, self._size, 1)

    def run(self) -> None:
        """Convolve what was taken."""
        compute, footprint, even = self.compute, self._footprint, self._spectra[0]

        def part(rows: slice) -> None:
            columns = compute.fft(even[:, rows], self._planes, 0)
            real_space = compute.irfft(columns, self._size, -1)
            if self.with_odd_half:
                # An odd real array's transform is odd and imaginary: i times it is half-stored like an even one.
                odd = compute.rfft(real_space * footprint.odd(rows), self._size, -1)
                self._spectra[1][:, rows] = compute.ifft(1j * odd, self._planes, 0)
            footprint.multiply_by_even_half(real_space, rows)
            even[:, rows] = compute.ifft(compute.rfft(real_space, self._size, -1), self._planes, 0)

        compute.over_slabs(part, self._half, row_bytes=self._row_bytes(self._planes))

    def modulus(self, planes: slice) -> Array:
        """Return planes (z, y, x ≥ 0) of the result."""
        xp = self.compute.xp
        parts = [self.compute.irfft(spectrum[planes], self._size, 1) for spectrum in self._spectra]
        return xp.abs(parts[0]) if len(parts) == 1 else xp.hypot(*parts)

    def over_planes(self, work: Callable[[slice], None]) -> None:
        """Call ``work`` with some planes at a time."""
        self.compute.over_slabs(work, self._planes, row_bytes=self._row_bytes(self._size))

    def _row_bytes(self, points: int) -> int:
        return points * self._half * (16 if self.is_precise else 8)


class _Footprint:
    """The blob's transform on the real-space grid that `BlobConvolution` works on, (z, y ≥ 0, x).

    RELION counts index ``size // 2`` as the negative coordinate −(size // 2 + 1), so its footprint is not quite
    symmetric. Its odd half makes the convolution complex and enters the modulus in quadrature: it is left out
    where it is too small to matter, as in all but small boxes with weights of one order.
    """

    def __init__(self, planes: int, size: int, period: float, compute: Compute) -> None:
        index = np.arange(size)
        numbered = np.where(index < size // 2, index, index - size)
        half = size // 2 + 1
        along, opposite = (compute.to_device(c) for c in (numbered, numbered[-index % size]))
        # Transforming the last axis backwards and the others forwards mirrors the others.
        self._sides = (
            [opposite[:planes], opposite[:half], along],
            [along[:planes], along[:half], opposite],
        )
        self._compute = compute
        # Beyond this index an axis holds in reverse what it holds from index 1 on, the rim apart.
        self._told = half + 1
        self._table = compute.to_device(_half_by_squared_radius(3 * int(numbered.min()) ** 2, period))
        at_rim = kaiser_bessel_footprint(np.minimum(np.array([half - 1, half]) / period, TABLE_END))
        self.step = float(at_rim[0] - at_rim[1])

    def multiply_by_even_half(self, real_space: Array, rows: slice) -> None:
        """Multiply some rows in place."""
        xp, told = self._compute.xp, self._told
        first, second = (self._half_at([z[:told], y[rows], x[:told]]) for z, y, x in self._sides)
        even = xp.astype(first + second, real_space.dtype, copy=False)
        mirrored = xp.flip(even[..., 1 : told - 2], axis=-1)
        real_space[:told, :, :told] *= even
        real_space[:told, :, told:] *= mirrored
        if real_space.shape[0] > 1:
            real_space[told:, :, :told] *= xp.flip(even[1 : told - 2], axis=0)
            real_space[told:, :, told:] *= xp.flip(mirrored[1 : told - 2], axis=0)

    def odd(self, rows: slice) -> Array:
        """Return some rows of the odd half."""
        first, second = (self._half_at([z, y[rows], x]) for z, y, x in self._sides)
        return first - second

    def _half_at(self, axes: list[Array]) -> Array:
        """Return half of the footprint at each point of a grid."""
        return self._table[squared_radius(axes)]


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
