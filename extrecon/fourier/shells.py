"""Sums and factors over Fourier shells.

A shell is all points of the half-complex spectrum of a cubic map whose radius rounds to the same integer, as in
RELION. Points that stand for a Friedel pair count twice. Shells run from 0 to n // 2; the corners beyond belong
to none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.edges import falling_edge
from extrecon.fourier.grids import full_axis, squared_radius


class Shells:
    """The shells of an (n, n, n) map's half-complex spectrum, (n, n, n // 2 + 1) in FFT order."""

    def __init__(self, n: int, compute: Compute) -> None:
        self.n = n
        self.count = n // 2 + 1
        self._compute = compute
        full = compute.to_device(full_axis(n))
        half = compute.to_device(np.arange(n // 2 + 1))
        self._axes = [full, full, half]
        squares = np.arange(3 * (n // 2 + 1) ** 2 + 1)
        shell = np.floor(np.sqrt(squares) + 0.5).astype(np.int64)
        self._shell_of_square = compute.to_device(np.minimum(shell, self.count))
        pair = np.full(n // 2 + 1, 2.0)
        pair[0] = 1.0
        if n % 2 == 0:
            pair[-1] = 1.0
        self._multiplicity = compute.to_device(pair)

    def spectrum(self, density: npt.NDArray[np.floating]) -> Array:
        """Return the half-complex transform of a real map, unnormalised, complex64."""
        device = self._compute.to_device(density, np.float32)
        return self._compute.rfftn(device, axes=(0, 1, 2))

    def density(self, spectrum: Array) -> npt.NDArray[np.float32]:
        """Return the real map of a spectrum; may overwrite it."""
        real = self._compute.irfftn(spectrum, shape=(self.n,) * 3, axes=(0, 1, 2))
        return self._compute.to_numpy(real).astype(np.float32, copy=False)

    def sums(self, quantity: Callable[[slice], Array]) -> npt.NDArray[np.float64]:
        """Return the sum over each shell of a real quantity, (n // 2 + 1,).

        ``quantity`` is asked for slabs of planes of the spectrum's first axis.
        """
        xp = self._compute.xp
        parts: list[npt.NDArray[np.float64]] = []

        def add(slab: slice) -> None:
            weighted = xp.astype(quantity(slab), xp.float64, copy=False) * self._multiplicity
            index = self.index(slab).reshape(-1)
            total = xp.bincount(index, weights=weighted.reshape(-1), minlength=self.count + 1)
            parts.append(self._compute.to_numpy(total)[: self.count])

        self._compute.over_slabs(add, self.n)
        summed: npt.NDArray[np.float64] = np.sum(parts, axis=0)
        return summed

    def points(self) -> npt.NDArray[np.float64]:
        """Return the number of Fourier points of each shell, (n // 2 + 1,)."""
        xp = self._compute.xp
        return self.sums(lambda slab: xp.ones_like(self.index(slab)))

    def scale(self, spectrum: Array, factor: npt.NDArray[np.float64]) -> None:
        """Multiply each shell by its factor, (n // 2 + 1,), in place; the corners get the last shell's factor."""
        factors = self._compute.to_device(np.append(factor, factor[-1]), np.float32)

        def multiply(slab: slice) -> None:
            spectrum[slab] *= factors[self.index(slab)]

        self._compute.over_slabs(multiply, self.n)

    def parts(self, spectrum: Array) -> tuple[Array, Array]:
        """Return real and imaginary part, float64: squares of a strongly sharpened map may pass float32's range."""
        xp = self._compute.xp
        return xp.astype(spectrum.real, xp.float64), xp.astype(spectrum.imag, xp.float64)

    def index(self, slab: slice) -> Array:
        """Return the shell of each point of a slab of planes of the first axis; n // 2 + 1 in the corners."""
        return self._shell_of_square[squared_radius([self._axes[0][slab], *self._axes[1:]])]


def power(spectrum: Array, shells: Shells) -> npt.NDArray[np.float64]:
    """Return the sum of |F|² over each shell."""

    def squares(slab: slice) -> Array:
        real, imaginary = shells.parts(spectrum[slab])
        return real * real + imaginary * imaginary

    return shells.sums(squares)


def correlation(first: Array, second: Array, shells: Shells) -> npt.NDArray[np.float64]:
    """Return the sum of Re(F₁ F₂*) over each shell."""

    def products(slab: slice) -> Array:
        (real, imaginary), (other_real, other_imaginary) = (shells.parts(part[slab]) for part in (first, second))
        return real * other_real + imaginary * other_imaginary

    return shells.sums(products)


def fsc_of_maps(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], compute: Compute
) -> npt.NDArray[np.float64]:
    """Return the FSC of two maps, each (n, n, n), as `fourier_shell_correlation` does, (n // 2 + 1,)."""
    shells = Shells(len(first), compute)
    return fourier_shell_correlation(shells.spectrum(first), shells.spectrum(second), shells)


def fourier_shell_correlation(first: Array, second: Array, shells: Shells) -> npt.NDArray[np.float64]:
    """Return Σ Re(F₁ F₂*) / √(Σ|F₁|² Σ|F₂|²) per shell; 0 where a shell is empty.

    Harauz & van Heel, Optik 73, 146 (1986).
    """
    norm = np.sqrt(power(first, shells) * power(second, shells))
    return np.divide(correlation(first, second, shells), norm, out=np.zeros(shells.count), where=norm > 0)


def guinier_profile(density: npt.NDArray[np.floating], compute: Compute) -> npt.NDArray[np.float64]:
    """Return ln √⟨|F|²⟩ of each Fourier shell, (n // 2 + 1,); −inf where a shell is empty.

    Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003).
    """
    shells = Shells(len(density), compute)
    mean = power(shells.spectrum(density), shells) / shells.points()
    with np.errstate(divide="ignore"):
        profile: npt.NDArray[np.float64] = 0.5 * np.log(mean)
    return profile


def relative_strength(first: Array, second: Array, shells: Shells, last: int, count: int) -> float | None:
    """Return one spectrum's amplitude over another's in shell ``last`` and ``count`` before it, without shell 0.

    None where the second one has none there. Both are spectra of ``shells``.
    """
    here = slice(max(last - count, 1), last + 1)
    ours, theirs = (float(power(spectrum, shells)[here].sum()) for spectrum in (first, second))
    return float(np.sqrt(ours / theirs)) if theirs > 0 else None


def soft_step(count: int, last: int, edge_shells: int) -> npt.NDArray[np.float64]:
    """Return 1 up to shell ``last``, 0 from ``edge_shells`` beyond it on, half a cosine between; (count,)."""
    return falling_edge((np.arange(count) - last) / edge_shells).astype(np.float64, copy=False)
