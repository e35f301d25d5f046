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
cut off              nothing is left beyond two shells after the half-map FSC falls under 1/7; the joined map then
                     gets the plain map's own shells there (`extrecon.call.finer_shells`)
===================  ===========================================================================================

Where the half-map is stronger outside the sphere inscribed in the box than within, as RELION's may be with padding
1, all this holds of what lies in the sphere: see `extrecon.call.likeness`, also for which shells hold signal. What
is not promised: that each region by itself is right. A small region may come back altered, mirrored even, as long
as the whole correlates; the plain map is always kept beside the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.call.likeness import FEWEST_SHELLS, Likeness, compared, measure_likeness
from extrecon.call.treatment import flattened
from extrecon.errors import SafeguardError
from extrecon.fourier.compute import Compute
from extrecon.fourier.resolution import cutoff_shell
from extrecon.fourier.shells import Shells, soft_step
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
CUTOFF_EDGE_SHELLS = 2


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
    damping: npt.NDArray[np.float64] | None = None,
    mask: FloatArray | None = None,
    masked_by_relion: bool = False,
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
    damping : (n // 2 + 1,) what the MAP term has left of each shell, looked at where there is no FSC: both are
        SSNR / (SSNR + 1); None if unknown
    mask : (n, n, n) outside of which the result's solvent was flattened; None if it was not
    masked_by_relion : RELION will cut the map with this mask in any case, as it does with a body
    shell_scale : scale each shell onto ``plain`` by least squares, or by these factors, (n // 2 + 1,)
    fsc_cutoff : cut where ``half_map_fsc`` falls under 1/7
    bound_gain : refuse a shell whose amplitude grew more than a hundredfold; sharpening for the eye may do that

    Raises
    ------
    SafeguardError : a promise of this module's table would not hold, or the FSC leaves less than two shells.
    """
    check_values(density, plain)
    shells = Shells(plain.shape[0], compute)
    seen = plain if mask is None else flattened(plain, mask)
    lying = compared(density, seen, shells)
    both = lying if mask is None or masked_by_relion else compared(density, plain, shells, lying)
    likeness = measure_likeness(both, lying, damping if half_map_fsc is None else half_map_fsc, compute)
    check_likeness(likeness)
    facts = likeness.facts() | ({"compared": "in the sphere"} if both.in_sphere else {})
    warnings: list[str] = []
    factor = np.ones(shells.count)
    if isinstance(shell_scale, np.ndarray):
        factor *= shell_scale
    elif shell_scale:
        factor *= both.least_squares_scale()
    else:
        facts["shell_scale"] = "off"
    facts["fsc_cutoff"] = _cut_off(factor, half_map_fsc, warnings) if fsc_cutoff else "off"
    if shell_scale is not False:
        facts["shell_scale"] = [round(float(f), 6) for f in factor]
    gain = both.amplitude_gain(factor)
    facts["largest_amplitude_gain"] = round(float(gain.max()), 4)
    if bound_gain:
        _check_gain(gain)
    if np.all(factor == 1.0):
        return Guarded(np.asarray(density, dtype=np.float32), facts, warnings)
    ours = shells.spectrum(density) if both.in_sphere else both.ours
    shells.scale(ours, factor)
    return Guarded(shells.density(ours), facts, warnings)


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


def _check_gain(gain: npt.NDArray[np.float64]) -> None:
    if gain.max() > LARGEST_AMPLITUDE_GAIN:
        raise SafeguardError(
            f"The regularizer raised the amplitudes of Fourier shell {int(gain.argmax())} by a factor of "
            f"{gain.max():.3g}; at most {LARGEST_AMPLITUDE_GAIN:g} is allowed."
        )
