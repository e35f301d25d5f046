"""What every regularizer's map must pass before RELION sees it.

A regularizer may do anything to a map. These checks and corrections keep the damage bounded. Of any map that passes
they promise:

===================  ===========================================================================================
real                 no complex numbers; nothing is dropped in silence
finite               every value, as float32
shape                the half-map's
not empty            largest value above 10⁻¹² of the half-map's
not shifted          by more than 0.1 px
not turned           by more than 1°, where the turn explains 3 % or more of what has changed (measured for small
                     angles; large ones fail by their correlation)
right hand and axes  none of the 47 other ways to lay the cube on itself fits better by more than 0.02
correlated           0.5 or better with the half-map over the shells that hold signal, all Fourier points alike;
                     and a quarter or more of the half-map's power there is explained
amplitudes           no shell gains power (with the shell scale), or has more than both halves share (with the other
                     half's amplitudes), or more than a hundredfold amplitude (with neither)
cut off              nothing is left beyond two shells after the half-map FSC falls under 1/7
===================  ===========================================================================================

Shells hold signal up to where the half-map FSC falls under 1/2; where no FSC is known, up to where a Fourier point
holds less than twice the power of one in the weakest shell: signal and noise are then equal. What is not promised:
that each region by itself is right. A small region may come back altered, mirrored even, as long as the whole
correlates; the plain map is always kept beside the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.call.alignment import (
    ROTATION_SHELLS,
    Laid,
    Orientation,
    Rotation,
    compare_orientations,
    lay_out,
    measure_rotation,
    measure_shift,
)
from extrecon.errors import SafeguardError
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.resolution import cutoff_shell, last_shell_above
from extrecon.fourier.shells import Shells, correlation, power, soft_step
from extrecon.maps.half_map import FloatArray, count_not_finite

LARGEST_SHIFT_PX = 0.1
LARGEST_ROTATION_DEGREES = 1.0
LEAST_SHARE_OF_A_TURN = 0.03
LARGEST_LEAD_OF_ANOTHER_ORIENTATION = 0.02
CLEAR_CORRELATION = 0.7
LEAST_CORRELATION = 0.5
LEAST_EXPLAINED_POWER = 0.25
LEAST_PEAK = 1e-12
LARGEST_AMPLITUDE_GAIN = 100.0
ROUNDING_POWER = 1e-13
SIGNAL_FSC = 0.5
SIGNAL_OVER_FLOOR = 2.0
CUTOFF_EDGE_SHELLS = 2
FEWEST_SHELLS = 2


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
    shell_scale: bool | npt.NDArray[np.float64],
    fsc_cutoff: bool,
    bound_gain: bool,
    compute: Compute,
) -> Guarded:
    """Check a regularized map against the plain one and correct what can be corrected.

    Parameters
    ----------
    density, plain : (n, n, n), axes z, y, x; the regularizer's result and the half-map it was given
    half_map_fsc : (n // 2 + 1,) gold-standard FSC per shell; None if unknown
    shell_scale : scale each shell onto ``plain`` by least squares, or by these factors, (n // 2 + 1,)
    fsc_cutoff : cut where ``half_map_fsc`` falls under 1/7
    bound_gain : refuse a shell whose amplitude grew more than a hundredfold; sharpening for the eye may do that

    Raises
    ------
    SafeguardError : a promise of this module's table would not hold, or the FSC leaves less than two shells.
    """
    check_values(density, plain)
    shells = Shells(plain.shape[0], compute)
    ours, theirs = shells.spectrum(density), shells.spectrum(plain)
    sums = _Sums.of(ours, theirs, shells)
    likeness = measure_likeness(ours, theirs, sums, half_map_fsc, compute)
    check_likeness(likeness)
    facts = likeness.facts()
    warnings: list[str] = []
    factor = np.ones(shells.count)
    if isinstance(shell_scale, np.ndarray):
        factor *= shell_scale
    elif shell_scale:
        factor *= sums.least_squares_scale()
    else:
        facts["shell_scale"] = "off"
    facts["fsc_cutoff"] = _cut_off(factor, half_map_fsc, warnings) if fsc_cutoff else "off"
    if shell_scale is not False:
        facts["shell_scale"] = [round(float(f), 6) for f in factor]
    gain = sums.amplitude_gain(factor)
    facts["largest_amplitude_gain"] = round(float(gain.max()), 4)
    if bound_gain:
        _check_gain(gain)
    if np.all(factor == 1.0):
        return Guarded(np.asarray(density, dtype=np.float32), facts, warnings)
    shells.scale(ours, factor)
    return Guarded(shells.density(ours), facts, warnings)


@dataclass(frozen=True)
class _Sums:
    """Sums over shells, each (n // 2 + 1,): power of the result, of the plain map, and of their product."""

    ours: npt.NDArray[np.float64]
    theirs: npt.NDArray[np.float64]
    product: npt.NDArray[np.float64]

    @classmethod
    def of(cls, ours: Array, theirs: Array, shells: Shells) -> _Sums:
        """Return the sums of two spectra; what rounding left in an empty shell of the result counts as nothing."""
        found = power(ours, shells)
        return cls(
            np.where(found > ROUNDING_POWER * found.max(), found, 0.0),
            power(theirs, shells),
            correlation(ours, theirs, shells),
        )

    def shell_correlation(self) -> npt.NDArray[np.float64]:
        """Return the correlation coefficient per shell; 0 where one of them has no power."""
        norm = np.sqrt(self.ours * self.theirs)
        return np.divide(self.product, norm, out=np.zeros_like(norm), where=norm > 0)

    def least_squares_scale(self) -> npt.NDArray[np.float64]:
        """Return argmin_s Σ|plain − s·ours|² per shell, not below 0; a shell without power gets 0.

        By the Cauchy-Schwarz inequality the scaled shell never holds more power than the plain one.
        """
        scale = np.divide(self.product, self.ours, out=np.zeros_like(self.ours), where=self.ours > 0)
        return np.maximum(scale, 0.0)

    def amplitude_gain(self, factor: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the amplitude ratio per shell; 0 where the plain map holds no power worth the name."""
        counted = self.theirs > 1e-6 * self.theirs.max()
        ratio = np.divide(self.ours, self.theirs, out=np.zeros_like(self.ours), where=counted)
        gain: npt.NDArray[np.float64] = factor * np.sqrt(ratio)
        return gain


def _cut_off(
    factor: npt.NDArray[np.float64], half_map_fsc: npt.NDArray[np.float64] | None, warnings: list[str]
) -> int | str:
    """Cut ``factor`` where the half-map FSC falls under 1/7; return the last shell kept, or why nothing was cut."""
    if half_map_fsc is None:
        warnings.append("no half-map FSC is known, so the result was not cut off at 1/7")
        return "no FSC"
    shell = cutoff_shell(half_map_fsc)
    if shell < FEWEST_SHELLS:
        raise SafeguardError(
            f"The half-map FSC falls under 1/7 at shell {shell + 1}: a map cut there would hold nothing."
        )
    factor *= soft_step(factor.size, shell, CUTOFF_EDGE_SHELLS)
    return shell


def check_values(density: FloatArray, plain: FloatArray) -> None:
    """Refuse a map of another shape, or with values that are not finite."""
    if density.shape != plain.shape:
        ours, theirs = ("×".join(map(str, d.shape)) for d in (density, plain))
        raise SafeguardError(f"The regularizer returned {ours} voxels for a half-map of {theirs}.")
    bad = count_not_finite(density)
    if bad:
        raise SafeguardError(f"The regularizer returned {bad} of {density.size} values that are NaN or infinite.")
    peak, peak_given = float(np.abs(density).max()), float(np.abs(plain).max())
    if not peak > LEAST_PEAK * peak_given:
        raise SafeguardError(
            f"The regularizer returned an empty map: its largest value is {peak:.3g}, "
            f"the half-map's {peak_given:.3g}."
        )


@dataclass(frozen=True)
class Likeness:
    """How a result lies against the half-map, and how much of it is the same, in the shells that hold signal.

    Attributes
    ----------
    shift_px : along z, y, x
    rotation : small angles only
    orientation : compared with the other ways to lay the cube on itself, all Fourier points alike
    correlation : with the half-map, all Fourier points alike
    explained : share of the half-map's power that a scale for each shell explains
    last : the last shell that holds signal
    """

    shift_px: npt.NDArray[np.float64]
    rotation: Rotation
    orientation: Orientation
    correlation: float
    explained: float
    last: int

    @property
    def angle_degrees(self) -> float:
        """The rotation's angle."""
        return float(np.linalg.norm(self.rotation.degrees))

    def facts(self) -> dict[str, Any]:
        """Return what the record should say."""
        return {
            "shift_px": [round(float(s), 4) for s in self.shift_px],
            "rotation_degrees": round(self.angle_degrees, 3),
            "correlation": round(self.correlation, 4),
            "signal_shells": self.last,
        }


def measure_likeness(
    ours: Array,
    theirs: Array,
    sums: _Sums,
    half_map_fsc: npt.NDArray[np.float64] | None,
    compute: Compute,
) -> Likeness:
    """Measure a result's spectrum against the half-map's."""
    last = last_signal_shell(half_map_fsc, sums.theirs)
    shell = np.arange(sums.theirs.size)
    inside = (shell > 0) & (shell <= last)
    laid = lay_out(ours, last, compute), lay_out(theirs, last, compute)
    each = sums.shell_correlation()
    points = np.where(inside, shell**2, 0)  # of a shell, but for a common factor
    total = float(sums.theirs[inside].sum())
    explained = float((np.maximum(each, 0)[inside] ** 2 * sums.theirs[inside]).sum())
    return Likeness(
        shift_px=measure_shift(ours, theirs, compute),
        rotation=_rotation(laid, sums, inside & (shell <= ROTATION_SHELLS)),
        orientation=_orientation(laid, sums, inside),
        correlation=float((each * points).sum() / points.sum()),
        explained=explained / total if total > 0 else 0.0,
        last=last,
    )


def _orientation(laid: tuple[Laid, Laid], sums: _Sums, inside: npt.NDArray[np.bool_]) -> Orientation:
    def flat(power_sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the factors that give all points inside the same power: fine shells tell hands apart."""
        points = np.arange(power_sums.size, dtype=np.float64) ** 2
        return np.sqrt(np.divide(points, power_sums, out=np.zeros_like(points), where=inside & (power_sums > 0)))

    return compare_orientations(laid[0].weighted(flat(sums.ours)), laid[1].weighted(flat(sums.theirs)))


def _rotation(laid: tuple[Laid, Laid], sums: _Sums, inside: npt.NDArray[np.bool_]) -> Rotation:
    # A sharp edge rings through the box, whose corners do not turn with the map.
    taper = np.where(inside, soft_step(inside.size, 0, int(inside.sum()) + 1), 0.0)
    return measure_rotation(laid[0].weighted(taper * sums.least_squares_scale()), laid[1].weighted(taper))


def check_likeness(found: Likeness) -> None:
    """Refuse a map that lies otherwise than the half-map, or shows something else.

    What tells the user most comes first: a mirrored map is also shifted, in a way, and correlates poorly.
    """
    shift, orientation = found.shift_px, found.orientation
    lead = orientation.otherwise - orientation.as_it_lies
    if lead > LARGEST_LEAD_OF_ANOTHER_ORIENTATION and orientation.otherwise > CLEAR_CORRELATION:
        raise SafeguardError(
            f"The regularizer turned or mirrored the map: it correlates {orientation.as_it_lies:.2f} with the "
            f"half-map, and {orientation.otherwise:.2f} with the half-map laid as {orientation.way}."
        )
    if found.correlation < 0:
        raise _another_map(found)
    if not np.linalg.norm(shift) <= LARGEST_SHIFT_PX:
        raise SafeguardError(
            f"The regularizer shifted the map by {np.linalg.norm(shift):.2f} px (z {shift[0]:.2f}, "
            f"y {shift[1]:.2f}, x {shift[2]:.2f}); at most {LARGEST_SHIFT_PX} px is allowed."
        )
    if found.angle_degrees > LARGEST_ROTATION_DEGREES and found.rotation.share > LEAST_SHARE_OF_A_TURN:
        raise SafeguardError(
            f"The regularizer turned the map by {found.angle_degrees:.1f}° or more; at most "
            f"{LARGEST_ROTATION_DEGREES:g}° is allowed."
        )
    if found.correlation < LEAST_CORRELATION or lead > LARGEST_LEAD_OF_ANOTHER_ORIENTATION:
        raise _another_map(found)
    if found.explained < LEAST_EXPLAINED_POWER:
        raise SafeguardError(
            f"The regularizer lost the map's strong shells: it explains {100 * found.explained:.0f} % of the "
            f"half-map's power in shells 1 to {found.last}; at least {100 * LEAST_EXPLAINED_POWER:.0f} % is asked "
            "for."
        )


def _another_map(found: Likeness) -> SafeguardError:
    return SafeguardError(
        f"The regularizer returned another map: over the shells that hold signal (1 to {found.last}) it correlates "
        f"{found.correlation:.2f} with the half-map; at least {LEAST_CORRELATION:g} is asked for."
    )


def last_signal_shell(half_map_fsc: npt.NDArray[np.float64] | None, plain_power: npt.NDArray[np.float64]) -> int:
    """Return the last shell of those that hold signal, at least the second, at most the last but one."""
    if half_map_fsc is not None:
        last = last_shell_above(half_map_fsc, SIGNAL_FSC)
    else:
        each_point = plain_power[1:] / np.arange(1, plain_power.size) ** 2
        under = np.flatnonzero(each_point <= SIGNAL_OVER_FLOOR * each_point.min())
        last = int(under[0])
    return max(min(last, plain_power.size - 2), FEWEST_SHELLS)


def _check_gain(gain: npt.NDArray[np.float64]) -> None:
    if gain.max() > LARGEST_AMPLITUDE_GAIN:
        raise SafeguardError(
            f"The regularizer raised the amplitudes of Fourier shell {int(gain.argmax())} by a factor of "
            f"{gain.max():.3g}; at most {LARGEST_AMPLITUDE_GAIN:g} is allowed."
        )
