"""How a map lies against another one: shifted, turned by a little, or laid along other axes.

All three are measured on the innermost shells of both spectra, laid on a small grid: they hold what can be told,
and a large box costs no more than a small one.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import full_axis, window_full_axis, window_half_axis

SHIFT_GRID = 64
ORIENTATION_GRID = 63
"""Odd, so that a flip of the array about its centre is a flip of the map."""
ROTATION_SHELLS = 15
"""As many as the grid holds without aliasing in the products that tell a rotation."""
_NEWTON_STEPS = 3
_AXES = (0, 1, 2)

Volume = npt.NDArray[Any]
Spectrum = npt.NDArray[Any]


def measure_shift(ours: Array, theirs: Array, compute: Compute) -> npt.NDArray[np.float64]:
    """Return where the cross-correlation of two spectra has its maximum, px along z, y, x, to sub-pixel precision.

    The highest voxel of the correlation is refined by Newton steps on its Fourier series. The innermost 32 shells
    suffice: they hold nearly all of the correlation.
    """
    n, last = ours.shape[0], 2
    size = min(n, SHIFT_GRID)
    radius = (size + 1) // 2
    cross = window_half_axis(ours * theirs.conj(), last, radius, size // 2 + 1, compute)
    for axis in range(last):
        cross = window_full_axis(cross, axis, radius, size, compute)
    host = compute.to_numpy(cross).copy()
    coarse = compute.to_numpy(compute.irfftn(cross, shape=(size,) * 3, axes=_AXES))
    peak = np.array(np.unravel_index(int(coarse.argmax()), coarse.shape))
    shift = full_axis(size)[peak].astype(np.float64)
    for _ in range(_NEWTON_STEPS):
        shift = shift + _newton_step(host, shift)
    shift *= n / size
    return shift


def _newton_step(cross: npt.NDArray[Any], shift: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return −H⁻¹ g of Σ Re(C exp(2πi k·s / n)) at s = ``shift``."""
    n = cross.shape[0]
    frequency = [2j * np.pi * full_axis(n) / n] * 2 + [2j * np.pi * np.arange(cross.shape[2]) / n]
    weight = np.full(cross.shape[2], 2.0)
    weight[0] = 1.0
    phases = [np.exp(f * s) for f, s in zip(frequency, shift, strict=True)]
    moments = [[p * f**power for power in range(3)] for p, f in zip(phases, frequency, strict=True)]
    moments[2] = [m * weight for m in moments[2]]

    def total(powers: tuple[int, int, int]) -> float:
        along_z, along_y, along_x = (moments[axis][powers[axis]] for axis in range(3))
        return float((((cross @ along_x) @ along_y) @ along_z).real)

    unit = np.eye(3, dtype=int)
    gradient = np.array([total(tuple(unit[i])) for i in range(3)])
    hessian = np.array([[total(tuple(unit[i] + unit[j])) for j in range(3)] for i in range(3)])
    if not np.all(np.linalg.eigvalsh(hessian) < 0):
        return np.zeros(3)
    step: npt.NDArray[np.float64] = np.clip(-np.linalg.solve(hessian, gradient), -0.5, 0.5)
    return step


class Laid(NamedTuple):
    """A spectrum's innermost shells on a small odd grid, the map's voxel ``n // 2`` at the grid's centre.

    Attributes
    ----------
    spectrum : (m, m, m // 2 + 1) half-complex, FFT order
    shell : (m, m, m // 2 + 1) shell of each point, rounded as `Shells` does
    """

    spectrum: Spectrum
    shell: npt.NDArray[np.int64]

    def weighted(self, weight: npt.NDArray[np.float64]) -> Spectrum:
        """Return the spectrum times a factor a shell; shells without a factor are left out."""
        factors = np.zeros(int(self.shell.max()) + 1)
        count = min(weight.size, factors.size)
        factors[:count] = weight[:count]
        return self.spectrum * factors[self.shell]


def lay_out(spectrum: Array, last: int, compute: Compute) -> Laid:
    """Lay the shells up to ``last`` of an (n, n, n // 2 + 1) spectrum, in FFT order, on a grid that holds them."""
    n = int(spectrum.shape[0])
    size = min(n - 1 + n % 2, ORIENTATION_GRID, 4 * last + 3)  # products of two maps have twice the shells
    half = size // 2
    cut = window_half_axis(spectrum, 2, half + 1, half + 1, compute)
    for axis in (0, 1):
        cut = window_full_axis(cut, axis, half + 1, size, compute)
    axes = [full_axis(size), full_axis(size), np.arange(half + 1)]
    moved = compute.to_numpy(cut).astype(np.complex128)
    for axis, k in enumerate(axes):
        phase = np.exp(2j * np.pi * k * ((n // 2) / n - half / size))
        moved *= _along(phase, axis)
    squares = sum(_along(k**2, axis) for axis, k in enumerate(axes))
    return Laid(moved, np.floor(np.sqrt(squares) + 0.5).astype(np.int64))


def _along(values: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    return values.reshape([-1 if each == axis else 1 for each in _AXES])


class Rotation(NamedTuple):
    """A small rotation that takes one map to another.

    Attributes
    ----------
    degrees : rotation vector about x, y, z
    share : of the difference of the maps (squared norm), what the rotation explains beside a shift; 0 to 1. A map
        that differs in other ways also has a best angle, which then explains next to nothing
    """

    degrees: npt.NDArray[np.float64]
    share: float


def measure_rotation(ours: Spectrum, theirs: Spectrum) -> Rotation:
    """Return the rotation that best takes ``theirs`` to ``ours``, for small angles.

    One Gauss-Newton step of the fit ours ≈ s·(theirs + Σ ωᵢ Lᵢ theirs + Σ tᵢ ∂ᵢ theirs), with Lᵢ the generators
    of rotations about the grid's centre: a shift is fitted beside the rotation, so that it is not taken for one.
    Beyond some degrees the angle comes out too small, and the correlation has fallen.

    Parameters
    ----------
    ours, theirs : (m, m, m // 2 + 1) half-complex spectra of the same grey scale, m odd, as `lay_out` lays them
    """
    ours_map, theirs_map = _real(ours), _real(theirs)
    power = float(np.vdot(theirs_map, theirs_map))
    scale = float(np.vdot(ours_map, theirs_map)) / power if power > 0 else 0.0
    if scale <= 0:
        return Rotation(np.zeros(3), 0.0)
    moves = [scale * move for move in _small_moves(theirs)]
    difference = ours_map - scale * theirs_map
    normal = np.array([[np.vdot(a, b) for b in moves] for a in moves])
    projected = np.array([np.vdot(difference, a) for a in moves])
    both, *_ = np.linalg.lstsq(normal, projected, rcond=None)
    shift_alone, *_ = np.linalg.lstsq(normal[3:, 3:], projected[3:], rcond=None)
    changed = float(np.vdot(difference, difference))
    explained = float(both @ projected - shift_alone @ projected[3:])
    return Rotation(np.degrees(both[:3]), explained / changed if changed > 0 else 0.0)


def _small_moves(spectrum: Spectrum) -> list[Volume]:
    """Return how a map changes per radian of rotation about x, y, z, and per px of shift along them."""
    size = spectrum.shape[0]
    axes = [full_axis(size), full_axis(size), np.arange(size // 2 + 1)]
    along_z, along_y, along_x = (
        _real(2j * np.pi / size * _along(k, axis) * spectrum) for axis, k in enumerate(axes)
    )
    centred = np.fft.fftshift(full_axis(size)).astype(np.float64)
    z, y, x = (_along(centred, axis) for axis in _AXES)
    rotations = [z * along_y - y * along_z, x * along_z - z * along_x, y * along_x - x * along_y]
    return [*rotations, -along_x, -along_y, -along_z]


class Orientation(NamedTuple):
    """How well a map fits as it lies, and laid along the axes in the best of the other 47 ways.

    Attributes
    ----------
    as_it_lies, otherwise : correlation coefficients
    way : the best other way, such as "x→−x" or "axes x, y, z as z, y, x"
    """

    as_it_lies: float
    otherwise: float
    way: str


def compare_orientations(ours: Spectrum, theirs: Spectrum) -> Orientation:
    """Compare a map with another one in all 48 ways in which a cube can be laid on itself, mirrored or not.

    Parameters
    ----------
    ours, theirs : (m, m, m // 2 + 1) half-complex spectra, m odd, as `lay_out` lays them
    """
    ours_map, theirs_map = _real(ours), _real(theirs)
    norm = float(np.linalg.norm(ours_map) * np.linalg.norm(theirs_map))
    if norm == 0:
        return Orientation(0.0, 0.0, "")
    found: dict[str, float] = {}
    for order, signs in product(permutations(_AXES), product((1, -1), repeat=3)):
        laid = theirs_map.transpose(order)[:: signs[0], :: signs[1], :: signs[2]]
        found[_name_of(order, signs)] = float(np.vdot(ours_map, laid)) / norm
    as_it_lies = found.pop(_name_of(_AXES, (1, 1, 1)))
    way = max(found, key=lambda name: found[name])
    return Orientation(as_it_lies, found[way], way)


def _name_of(order: tuple[int, ...], signs: tuple[int, ...]) -> str:
    names = [f"{'−' if sign < 0 else ''}{'zyx'[axis]}" for axis, sign in zip(order, signs, strict=True)]
    return f"z, y, x → {', '.join(names)}"


def _real(spectrum: Spectrum) -> Volume:
    """Return the map of a small spectrum, the grid's centre at index ``m // 2``."""
    size = spectrum.shape[0]
    return np.fft.irfftn(spectrum, s=(size,) * 3, axes=_AXES)
