"""The padded Fourier grid of one reconstruction: its sizes, what lies on it, and the window of it that counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from extrecon.errors import InputError
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import full_axis, round_half_up, squared_radius, window_full_axis, window_half_axis

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
    """What a reconstruction reads: three half-complex arrays of `Geometry.accumulator_shape`, in FFT order."""

    def weight(self) -> npt.NDArray[np.float32]:
        """Return the sum of the CTF² (and noise) weights."""

    def data_real(self) -> npt.NDArray[np.float32]:
        """Return the real part of the weighted sum of the images."""

    def data_imag(self) -> npt.NDArray[np.float32]:
        """Return its imaginary part."""


def window(array: npt.NDArray[np.float32], geometry: Geometry, compute: Compute) -> Array:
    """Lay an accumulator on the window's (P, …, P // 2 + 1) points, zero at and beyond R on each axis."""
    if array.shape != geometry.accumulator_shape:
        found, wanted = ("×".join(map(str, shape)) for shape in (array.shape, geometry.accumulator_shape))
        raise InputError(
            f"An accumulator is {found} points, but an image of {geometry.original_size} px with padding "
            f"{geometry.padding_factor:g} has {wanted}."
        )
    radius, size, last = geometry.radius, geometry.window, geometry.dimensions - 1
    windowed = window_half_axis(compute.to_device(array), last, radius, size // 2 + 1, compute)
    for axis in range(last):
        windowed = window_full_axis(windowed, axis, radius, size, compute)
    return windowed


def frequencies(geometry: Geometry, compute: Compute) -> list[Array]:
    """Return the integer frequencies of the window's axes; the last is halved."""
    size = geometry.window
    full = compute.to_device(full_axis(size))
    return [full] * (geometry.dimensions - 1) + [full[: size // 2 + 1]]


def slab_of_squares(axes: list[Array], slab: slice) -> Array:
    """Return the squared radii of a slab of planes along the first of `frequencies`' axes."""
    return squared_radius([axes[0][slab], *axes[1:]])


def shell_of_square(geometry: Geometry, *, offset: float) -> npt.NDArray[np.int64]:
    """Return floor(k / p + offset), the unpadded Fourier shell, for each squared radius k² below R²."""
    distance = np.sqrt(np.arange(geometry.radius**2)) / geometry.padding_factor
    return np.floor(distance + offset).astype(np.int64)
