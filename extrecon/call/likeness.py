"""How a regularizer's map lies against the half-map, and how much of it is the same: what the safeguards judge.

Both are compared as they are, unless the half-map is stronger outside the sphere inscribed in the box. RELION
puts a mean level there and divides by sinc²(r / pn), which with padding 1 raises the corners fortyfold; with
gridding weights the level itself then outweighs the particle. Nothing out there is data, and a regularizer may well
leave it out. Such maps are compared in the sphere alone. To cut a map there blurs its spectrum over some shells, so
each shell of the regularizer's map is first brought to the power of the half-map's.

Shells hold signal up to where the half-map FSC falls under 1/2; where no FSC is known, up to where the MAP term
leaves less than half of a shell (both are SSNR / (SSNR + 1)); and where that is unknown too, up to where a Fourier
point holds less than twice the power of one in the weakest shell: signal and noise are then equal.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.masks import soft_sphere
from extrecon.fourier.resolution import last_shell_above
from extrecon.fourier.shells import Shells, correlation, power, soft_step
from extrecon.maps.half_map import FloatArray

ROUNDING_POWER = 1e-13
SIGNAL_SHARE = 0.5
SIGNAL_OVER_FLOOR = 2.0
FEWEST_SHELLS = 2
SPHERE_EDGE_PX = 3.0
LARGEST_RATIO_OUTSIDE = 1.5
"""Of the mean square inside the sphere: noise that fills the box reaches 1, at most."""


@dataclass(frozen=True)
class ShellSums:
    """Sums over shells, each (n // 2 + 1,): power of the result, of the plain map, and of their product."""

    ours: npt.NDArray[np.float64]
    theirs: npt.NDArray[np.float64]
    product: npt.NDArray[np.float64]

    @classmethod
    def of(cls, ours: Array, theirs: Array, shells: Shells) -> ShellSums:
        """Return the sums of two spectra; what rounding left in an empty shell of the result counts as nothing."""
        return cls(
            _without_rounding(power(ours, shells)),
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
        """Return the amplitude ratio per shell; 0 where the plain map holds no power worth the name.

        The mean, shell 0, is one point, and next to nothing where positive and negative density happen to balance:
        it is measured by shell 1 if that is stronger.
        """
        theirs = self.theirs.copy()
        theirs[0] = theirs[:2].max()
        counted = theirs > 1e-6 * theirs.max()
        ratio = np.divide(self.ours, theirs, out=np.zeros_like(self.ours), where=counted)
        gain: npt.NDArray[np.float64] = factor * np.sqrt(ratio)
        return gain


@dataclass(frozen=True)
class Compared:
    """The spectra that are compared.

    Attributes
    ----------
    ours, theirs : of the result and of the plain map, half-complex
    sums : over their shells
    level : (n // 2 + 1,) what each shell of the result was multiplied by before; 1 where both are as they are
    in_sphere : whether what lies outside the sphere inscribed in the box was left out
    """

    ours: Array
    theirs: Array
    sums: ShellSums
    level: npt.NDArray[np.float64]
    in_sphere: bool

    def least_squares_scale(self) -> npt.NDArray[np.float64]:
        """Return the factors of the result's shells that bring it nearest to the plain map."""
        return self.level * self.sums.least_squares_scale()

    def amplitude_gain(self, factor: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return how the amplitude of each shell has grown, once multiplied by ``factor``."""
        undone = np.divide(factor, self.level, out=np.zeros_like(factor), where=self.level > 0)
        return self.sums.amplitude_gain(undone)


def compared(density: FloatArray, plain: FloatArray, shells: Shells, before: Compared | None = None) -> Compared:
    """Return what is to be compared of a regularizer's map and the half-map, both (n, n, n).

    ``before`` may have the spectrum of the same ``density`` already.
    """
    window = soft_sphere(shells.n, shells.n / 2 - SPHERE_EDGE_PX, SPHERE_EDGE_PX)
    if not _is_strong_outside(plain, window):
        ours = shells.spectrum(density) if before is None or before.in_sphere else before.ours
        theirs = shells.spectrum(plain)
        return Compared(ours, theirs, ShellSums.of(ours, theirs, shells), np.ones(shells.count), in_sphere=False)
    ours, theirs = shells.spectrum(density), shells.spectrum(_in_sphere(plain, window))
    found = _without_rounding(power(ours, shells))
    level = np.sqrt(np.divide(power(theirs, shells), found, out=np.zeros_like(found), where=found > 0))
    shells.scale(ours, level)
    ours = shells.spectrum(_in_sphere(shells.density(ours), window))
    return Compared(ours, theirs, ShellSums.of(ours, theirs, shells), level, in_sphere=True)


def _is_strong_outside(plain: FloatArray, window: npt.NDArray[np.float32]) -> bool:
    level = _level_at_edge(plain, window)
    inside, outside = (float(np.square(plain[where] - level).mean()) for where in (window > 0, window == 0))
    return outside > LARGEST_RATIO_OUTSIDE * inside


def _in_sphere(density: FloatArray, window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a map that fades to nothing outside the window, from the level that it has at the window's edge."""
    return np.asarray((density - _level_at_edge(density, window)) * window, dtype=np.float32)


def _level_at_edge(density: FloatArray, window: npt.NDArray[np.float32]) -> float:
    return float(density[(window > 0) & (window < 1)].mean(dtype=np.float64))


def _without_rounding(power_sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(power_sums > ROUNDING_POWER * power_sums.max(), power_sums, 0.0)


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
    both: Compared, lying: Compared, signal_share: npt.NDArray[np.float64] | None, compute: Compute
) -> Likeness:
    """Measure a result's spectrum against the half-map's.

    Parameters
    ----------
    both : with the half-map as it is: how much is the same
    lying : with the half-map cut as the result was: how the result lies. What a mask cuts off, of a filament or of
        a body's neighbour, would otherwise pass for a shift or a turn
    signal_share : (n // 2 + 1,) of each shell's power, as an FSC tells it; None if unknown
    """
    sums = both.sums
    last = last_signal_shell(signal_share, sums.theirs)
    shell = np.arange(sums.theirs.size)
    inside = (shell > 0) & (shell <= last)
    laid = lay_out(lying.ours, last, compute), lay_out(lying.theirs, last, compute)
    each = sums.shell_correlation()
    points = np.where(inside, shell**2, 0)  # of a shell, but for a common factor
    total = float(sums.theirs[inside].sum())
    explained = float((np.maximum(each, 0)[inside] ** 2 * sums.theirs[inside]).sum())
    return Likeness(
        shift_px=measure_shift(lying.ours, lying.theirs, compute),
        rotation=_rotation(laid, lying.sums, inside & (shell <= ROTATION_SHELLS)),
        orientation=_orientation(laid, lying.sums, inside),
        correlation=float((each * points).sum() / points.sum()),
        explained=explained / total if total > 0 else 0.0,
        last=last,
    )


def _orientation(laid: tuple[Laid, Laid], sums: ShellSums, inside: npt.NDArray[np.bool_]) -> Orientation:
    def flat(power_sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the factors that give all points inside the same power: fine shells tell hands apart."""
        points = np.arange(power_sums.size, dtype=np.float64) ** 2
        return np.sqrt(np.divide(points, power_sums, out=np.zeros_like(points), where=inside & (power_sums > 0)))

    return compare_orientations(laid[0].weighted(flat(sums.ours)), laid[1].weighted(flat(sums.theirs)))


def _rotation(laid: tuple[Laid, Laid], sums: ShellSums, inside: npt.NDArray[np.bool_]) -> Rotation:
    # A sharp edge rings through the box, whose corners do not turn with the map.
    taper = np.where(inside, soft_step(inside.size, 0, int(inside.sum()) + 1), 0.0)
    return measure_rotation(laid[0].weighted(taper * sums.least_squares_scale()), laid[1].weighted(taper))


def last_signal_shell(signal_share: npt.NDArray[np.float64] | None, plain_power: npt.NDArray[np.float64]) -> int:
    """Return the last shell of those that hold signal, at least the second, at most the last but one."""
    if signal_share is not None:
        last = last_shell_above(signal_share, SIGNAL_SHARE)
    else:
        each_point = plain_power[1:] / np.arange(1, plain_power.size) ** 2
        filled = plain_power[1:] > ROUNDING_POWER * plain_power.max()  # beyond a low-pass there is rounding alone
        floor = each_point[filled].min() if filled.any() else 0.0
        under = np.flatnonzero(each_point <= SIGNAL_OVER_FLOOR * floor)
        last = int(under[0])
    return max(min(last, plain_power.size - 2), FEWEST_SHELLS)
