"""What every regularizer's map must pass before RELION sees it.

A regularizer may do anything to a map. These checks and corrections keep the damage bounded: the result is
finite, of the same shape and not shifted; each Fourier shell is scaled onto the half-map, so that RELION's grey
scale holds and no shell gains power; and what the half-maps do not agree on is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import SafeguardError
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.grids import full_axis, window_full_axis, window_half_axis
from extrecon.fourier.shells import Shells, correlation, cutoff_shell, power, soft_step
from extrecon.maps.half_map import FloatArray

LARGEST_SHIFT_PX = 0.1
LARGEST_AMPLITUDE_GAIN = 100.0
CUTOFF_EDGE_SHELLS = 2
FEWEST_SHELLS = 2
SHIFT_GRID = 64
_NEWTON_STEPS = 3


@dataclass(frozen=True)
class Guarded:
    """A map that passed, and what was done to it.

    Attributes
    ----------
    density : (n, n, n) float32, axes z, y, x
    facts : for the record: shift, shell scales, cut-off
    warnings : sentences for the user
    """

    density: npt.NDArray[np.float32]
    facts: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def guard(
    density: FloatArray,
    plain: FloatArray,
    *,
    half_map_fsc: npt.NDArray[np.float64] | None,
    shell_scale: bool,
    fsc_cutoff: bool,
    bound_gain: bool,
    compute: Compute,
) -> Guarded:
    """Check a regularized map against the plain one and correct what can be corrected.

    Parameters
    ----------
    density, plain : (n, n, n), axes z, y, x; the regularizer's result and the half-map it was given
    half_map_fsc : (n // 2 + 1,) gold-standard FSC per shell; None if unknown
    shell_scale : scale each shell onto ``plain``
    fsc_cutoff : cut where ``half_map_fsc`` falls under 1/7
    bound_gain : refuse a shell whose amplitude grew more than a hundredfold; sharpening for the eye may do that

    Raises
    ------
    SafeguardError : wrong shape, values that are not finite, a shift over 0.1 px, an empty map, too large a gain,
        or an FSC that leaves less than two shells.
    """
    check_values(density, plain)
    shells = Shells(plain.shape[0], compute)
    ours, theirs = shells.spectrum(density), shells.spectrum(plain)
    facts: dict[str, Any] = {"shift_px": check_shift(ours, theirs, compute)}
    warnings: list[str] = []
    factor = np.ones(shells.count)
    ours_power, theirs_power = power(ours, shells), power(theirs, shells)
    if shell_scale:
        factor *= _least_squares_scale(correlation(ours, theirs, shells), ours_power)
    else:
        facts["shell_scale"] = "off"
    if not fsc_cutoff:
        facts["fsc_cutoff"] = "off"
    elif half_map_fsc is None:
        facts["fsc_cutoff"] = "no FSC"
        warnings.append("no half-map FSC is known, so the result was not cut off at 1/7")
    else:
        shell = cutoff_shell(half_map_fsc)
        if shell < FEWEST_SHELLS:
            raise SafeguardError(
                f"The half-map FSC falls under 1/7 at shell {shell + 1}: a map cut there would hold nothing."
            )
        facts["fsc_cutoff"] = shell
        factor *= soft_step(shells.count, shell, CUTOFF_EDGE_SHELLS)
    if shell_scale:
        facts["shell_scale"] = [round(float(f), 6) for f in factor]
    gain = _amplitude_gain(factor, ours_power, theirs_power)
    facts["largest_amplitude_gain"] = round(float(gain.max()), 4)
    if bound_gain:
        _check_gain(gain)
    if np.all(factor == 1.0):
        return Guarded(np.asarray(density, dtype=np.float32), facts, warnings)
    shells.scale(ours, factor)
    return Guarded(shells.density(ours), facts, warnings)


def check_values(density: FloatArray, plain: FloatArray) -> None:
    """Refuse a map of another shape, or with values that are not finite."""
    if density.shape != plain.shape:
        ours, theirs = ("×".join(map(str, d.shape)) for d in (density, plain))
        raise SafeguardError(f"The regularizer returned {ours} voxels for a half-map of {theirs}.")
    bad = int(density.size - np.isfinite(density).sum())
    if bad:
        raise SafeguardError(f"The regularizer returned {bad} of {density.size} values that are NaN or infinite.")
    if not density.any():
        raise SafeguardError("The regularizer returned an empty map.")


def check_shift(ours: Array, theirs: Array, compute: Compute) -> list[float]:
    """Return the shift of one map against the other, px along z, y, x; refuse more than 0.1 px."""
    shift = measure_shift(ours, theirs, compute)
    distance = float(np.linalg.norm(shift))
    if not distance <= LARGEST_SHIFT_PX:
        raise SafeguardError(
            f"The regularizer shifted the map by {distance:.2f} px (z {shift[0]:.2f}, y {shift[1]:.2f}, "
            f"x {shift[2]:.2f}); at most {LARGEST_SHIFT_PX} px is allowed."
        )
    return [round(float(s), 4) for s in shift]


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
    coarse = compute.to_numpy(compute.irfftn(cross, shape=(size,) * 3, axes=(0, 1, 2)))
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


def _least_squares_scale(
    correlation_sum: npt.NDArray[np.float64], ours_power: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return argmin_s Σ|plain − s·ours|² per shell, not below 0; a shell without power gets 0.

    By the Cauchy-Schwarz inequality the scaled shell never holds more power than the plain one.
    """
    scale = np.divide(correlation_sum, ours_power, out=np.zeros_like(ours_power), where=ours_power > 0)
    return np.maximum(scale, 0.0)


def _amplitude_gain(
    factor: npt.NDArray[np.float64], ours_power: npt.NDArray[np.float64], theirs_power: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the amplitude ratio per shell; 0 where the plain map holds no power worth the name."""
    counted = theirs_power > 1e-6 * theirs_power.max()
    ratio = np.divide(ours_power, theirs_power, out=np.zeros_like(ours_power), where=counted)
    gain: npt.NDArray[np.float64] = factor * np.sqrt(ratio)
    return gain


def _check_gain(gain: npt.NDArray[np.float64]) -> None:
    if gain.max() > LARGEST_AMPLITUDE_GAIN:
        raise SafeguardError(
            f"The regularizer raised the amplitudes of Fourier shell {int(gain.argmax())} by a factor of "
            f"{gain.max():.3g}; at most {LARGEST_AMPLITUDE_GAIN:g} is allowed."
        )
