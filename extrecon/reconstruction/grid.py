"""The padded Fourier grid of one reconstruction: its sizes, what lies on it, and the window of it that counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from extrecon.errors import InputError
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import full_axis, round_half_up, squared_radius
from extrecon.maps.planes import EVERY_PLANE

LARGEST_PADDING = 100


@dataclass(frozen=True)
class Geometry:
    """Sizes of one reconstruction.

    Attributes
    ----------
    original_size : n, edge of the half-map, px
    current_size : edge of the images that RELION used in this iteration, px; it limits the resolution
    padding_factor : p, at least 1
    dimensions : 3, or 2 for the references of a 2D classification
    """

    original_size: int
    current_size: int
    padding_factor: float
    dimensions: int = 3

    def __post_init__(self) -> None:
        if self.original_size < 2 or self.current_size < 2:
            raise InputError(
                f"Image sizes must be at least 2 px, but the original is {self.original_size} px "
                f"and the current one {self.current_size} px."
            )
        if not 1 <= self.padding_factor <= LARGEST_PADDING:
            raise InputError(f"The padding factor must be 1 to {LARGEST_PADDING}, not {self.padding_factor}.")
        if self.dimensions not in (2, 3):
            raise InputError(f"References have 2 or 3 dimensions, not {self.dimensions}.")

    @property
    def largest_shell(self) -> int:
        """Largest Fourier shell of the unpadded map that the images reach."""
        return min(self.current_size // 2, self.original_size // 2)

    @property
    def radius(self) -> int:
        """R, the same on the padded grid: nothing counts at or beyond it."""
        return round_half_up(self.padding_factor * self.largest_shell)

    @property
    def window(self) -> int:
        """P, the edge of the padded grid cut down to what counts; odd."""
        return 2 * (self.radius + 1) + 1

    @property
    def window_shape(self) -> tuple[int, int, int]:
        """Shape of the half-complex window, (P, P, P // 2 + 1); (1, P, P // 2 + 1) in 2D."""
        return (self.window if self.dimensions == 3 else 1, self.window, self.window // 2 + 1)

    @property
    def padded_size(self) -> int:
        """Edge of RELION's accumulators."""
        return round_half_up(self.padding_factor * self.original_size)

    @property
    def accumulator_shape(self) -> tuple[int, ...]:
        """Shape of RELION's half-complex accumulators."""
        n = self.padded_size
        return (n,) * (self.dimensions - 1) + (n // 2 + 1,)

    @property
    def volume_factor(self) -> float:
        """Padded grid points per unpadded one: p³, or p² in 2D."""
        return float(self.padding_factor**self.dimensions)


class Accumulators(Protocol):
    """What a reconstruction reads: three half-complex arrays of `Geometry.accumulator_shape`, in FFT order.

    Each is read as a whole, or a few planes of its first axis at a time.
    """

    def weight(self, planes: slice = EVERY_PLANE) -> npt.NDArray[np.float32]:
        """Return the sum of the CTF² (and noise) weights."""

    def data_real(self, planes: slice = EVERY_PLANE) -> npt.NDArray[np.float32]:
        """Return the real part of the weighted sum of the images."""

    def data_imag(self, planes: slice = EVERY_PLANE) -> npt.NDArray[np.float32]:
        """Return its imaginary part."""


Read = Callable[[slice], npt.NDArray[np.float32]]
"""One of the methods of `Accumulators`."""


def window(read: Read, geometry: Geometry, planes: slice, compute: Compute) -> Array:
    """Lay an accumulator on planes of the window, zero at and beyond R on each axis: (planes, P, P // 2 + 1).

    Parameters
    ----------
    planes : of the window's `Geometry.window_shape`
    """
    size, radius, padded = geometry.window, geometry.radius, geometry.padded_size
    laid = np.zeros((planes.stop - planes.start, *geometry.window_shape[1:]), np.float32)

    def lay(first: int, stop: int, there: int) -> None:
        """Lay planes ``first`` to ``stop`` of the window, which are ``there`` and those that follow in the file."""
        begin, end = max(first, planes.start), min(stop, planes.stop)
        if begin >= end:
            return
        values = _read(read, slice(begin - first + there, end - first + there), geometry)
        here = laid[begin - planes.start : end - planes.start]
        here[:, :radius, :radius] = values[:, :radius, :radius]
        here[:, size - radius + 1 :, :radius] = values[:, padded - radius + 1 :, :radius]

    lay(0, min(radius, geometry.window_shape[0]), 0)
    if geometry.dimensions == 3:
        lay(size - radius + 1, size, padded - radius + 1)
    return compute.to_device(laid)


def _read(read: Read, planes: slice, geometry: Geometry) -> npt.NDArray[np.float32]:
    """Return planes of an accumulator; an image is one plane."""
    if geometry.dimensions == 2:
        values, wanted = read(EVERY_PLANE)[None], (1, *geometry.accumulator_shape)
    else:
        values, wanted = read(planes), (planes.stop - planes.start, *geometry.accumulator_shape[1:])
    if values.shape != wanted:
        raise _another_size(read(EVERY_PLANE).shape, geometry)
    return values


def _another_size(found: tuple[int, ...], geometry: Geometry) -> InputError:
    ours, wanted = ("×".join(map(str, shape)) for shape in (found, geometry.accumulator_shape))
    return InputError(
        f"An accumulator is {ours} points, but an image of {geometry.original_size} px with padding "
        f"{geometry.padding_factor:g} has {wanted}."
    )


def over_window(work: Callable[[slice], None], geometry: Geometry, compute: Compute) -> None:
    """Call ``work`` with some planes of the window at a time."""
    planes, size, half = geometry.window_shape
    compute.over_slabs(work, planes, row_bytes=size * half * 8)


def frequencies(geometry: Geometry, compute: Compute) -> list[Array]:
    """Return the integer frequencies of the window's axes; the last is halved."""
    planes, size, half = geometry.window_shape
    full = compute.to_device(full_axis(size))
    return [full[:planes], full, full[:half]]


def slab_of_squares(axes: list[Array], slab: slice) -> Array:
    """Return the squared radii of a slab of planes along the first of `frequencies`' axes."""
    return squared_radius([axes[0][slab], *axes[1:]])


def shell_of_square(geometry: Geometry, *, offset: float) -> npt.NDArray[np.int64]:
    """Return floor(k / p + offset), the unpadded Fourier shell, for each squared radius k² below R²."""
    distance = np.sqrt(np.arange(geometry.radius**2)) / geometry.padding_factor
    return np.floor(distance + offset).astype(np.int64)
