"""Oversharpening: whether a map looks finer than its signal-to-noise ratio allows, and which B factor suits it.

Ramírez-Aportela et al., IUCrJ 6, 1054 (2019), section 3.4 and figure 5. How fine a map looks, DeepRes tells; what
its signal allows, MonoRes, whose answer does not change as a map is sharpened. Where the 20th percentiles of both
agree, the map is as sharp as it may be.

MonoRes asks of each voxel by itself that its signal stand out from the noise. In noisy maps it does so up to
far coarser resolutions only than those to which whole shells agree. So where there are half-maps, a map may
look as fine as the resolution at which their FSC under the mask falls under 0.143, if that is finer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError, UsageError
from extrecon.fourier.compute import Compute, cpu
from extrecon.fourier.resolution import resolution_of_last_above
from extrecon.fourier.shells import Shells, fsc_of_maps, power, soft_step
from extrecon.maps import HalfMap
from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, Context, load
from extrecon.validate.wilson import wilson_fit

FloatArray = npt.NDArray[np.floating[Any]]
Told = Callable[[HalfMap], FloatArray]
"""Returns the local resolution of a map, Å, at the particle's voxels, in any order."""

LOOK, SIGNAL = "deepres", "monores"
PERCENTILE = 20
TOLERANCE = 0.1
"""Of the resolution: so much finer a map may look before it is called oversharpened."""

MOST_BEYOND = 0.5
"""Of a map's variance: so much may lie beyond its resolution, before it is told to be noise that was sharpened."""

COARSEST_NYQUIST_ANGSTROM = 8.0
"""Where voxels are coarser, what DeepRes could tell is near the end of what it knows."""

_GROWTH = 4.0  # of what lies beyond the resolution, beside what lies within it
_STEP = 0.5
_MOST_STEPS = 12
_STEPS_FINER = 2
_EDGE_SHELLS = 2
_FINEST = 2  # percentile of a single map's local resolution, taken for its resolution
_BINS = 60
_NEARLY_ALL = 0.99
_FINEST_FITTED, _COARSEST_FITTED = 1.1, 3.0  # times the resolution


@dataclass(frozen=True)
class Looks:
    """Percentiles (Å) and histogram of a map's local resolution, and the B factor (Å²) that was applied to the map.

    A B factor below 0 sharpens.
    """

    b_factor: float
    percentile_angstrom: float
    median_angstrom: float
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sharpening:
    """How sharp a map looks beside what its signal allows.

    Attributes
    ----------
    signal : what signal and noise allow, of the half-maps or of the unsharpened map
    map : how the map looks
    low_passed : how it looks low-passed to the resolution, without the noise that was sharpened with it
    swept : how the unsharpened map looks with ever lower B factors, low-passed to the resolution; may be empty
    edges_angstrom : of the histograms' bins
    low_pass_angstrom : to which they were low-passed
    beyond : share of the map's variance that lies beyond the resolution
    beyond_unsharpened : the same before sharpening
    fsc_angstrom : resolution of the half-maps under the mask, FSC 0.143; None of a single map
    applied_b_factor : B factor, Å², nearest to what was done to the unsharpened map; None if nothing was
    """

    signal: Looks
    map: Looks
    low_passed: Looks
    swept: tuple[Looks, ...]
    edges_angstrom: npt.NDArray[np.float64]
    low_pass_angstrom: float
    beyond: float
    beyond_unsharpened: float
    fsc_angstrom: float | None = None
    applied_b_factor: float | None = None

    @property
    def allowed_angstrom(self) -> float:
        """How fine the finest fifth of the particle may look, Å."""
        return min(self.signal.percentile_angstrom, self.fsc_angstrom or np.inf)

    @property
    def looks_angstrom(self) -> float:
        """How fine the finest fifth of the particle looks, Å: with what lies beyond the resolution, or without.

        Much sharpened noise hides how fine the signal in it looks; detail that was made up lies beyond it.
        """
        return min(self.map.percentile_angstrom, self.low_passed.percentile_angstrom)

    @property
    def is_oversharpened(self) -> bool:
        """Whether the map looks finer than its signal allows, by more than `TOLERANCE`."""
        return self.looks_angstrom < (1 - TOLERANCE) * self.allowed_angstrom

    @property
    def is_mostly_noise(self) -> bool:
        """Whether most of the map lies beyond its resolution, and sharpening brought much of it there."""
        within, within_unsharpened = 1 - self.beyond, 1 - self.beyond_unsharpened
        has_grown = self.beyond * within_unsharpened > _GROWTH * self.beyond_unsharpened * within
        return self.beyond > MOST_BEYOND and has_grown

    @property
    def b_factor(self) -> float | None:
        """The B factor with which the unsharpened map looks as fine as its signal allows, Å²; None if none does."""
        percentiles = [(each.b_factor, each.percentile_angstrom) for each in self.swept]
        return first_b_factor(percentiles, self.allowed_angstrom)

    def warnings(self) -> list[str]:
        """Return a sentence each if the map is oversharpened, and if it is mostly noise."""
        found = []
        if self.is_oversharpened:
            best = "" if self.b_factor is None else f"; {self.b_factor:.0f} Å² would suit the unsharpened one"
            found.append(
                f"oversharpened: a fifth of the particle looks finer than {self.looks_angstrom:.1f} Å, while its "
                f"signal allows {self.allowed_angstrom:.1f} Å{best}"
            )
        if self.is_mostly_noise:
            found.append(
                f"{_percent(self.beyond)} of the map's variance lies beyond {self.low_pass_angstrom:.1f} Å, its "
                f"resolution, and {_percent(self.beyond_unsharpened)} did before it was sharpened: "
                "low-pass it to that"
            )
        return found

    def percentiles(self) -> dict[str, float | bool]:
        """Return how fine the finest fifth looks and may look, Å, and whether the map is oversharpened."""
        return {
            "looks_angstrom": self.looks_angstrom,
            "signal_angstrom": self.allowed_angstrom,
            "is_oversharpened": self.is_oversharpened,
        }

    def told(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {
            "methods": {"look": LOOK, "signal": SIGNAL},
            "percentile": PERCENTILE,
            "signal": _told(self.signal),
            "map": _told(self.map),
            "low_passed": _told(self.low_passed),
            "looks_angstrom": self.looks_angstrom,
            "is_oversharpened": self.is_oversharpened,
            "b_factor": self.b_factor,
            "applied_b_factor": self.applied_b_factor,
            "swept": [_told(each) for each in self.swept],
            "edges_angstrom": self.edges_angstrom.tolist(),
            "low_pass_angstrom": self.low_pass_angstrom,
            "beyond": self.beyond,
            "beyond_unsharpened": self.beyond_unsharpened,
            "fsc_angstrom": self.fsc_angstrom,
            "allowed_angstrom": self.allowed_angstrom,
        }


def _percent(share: float) -> str:
    """Return a share in words; one that is not quite all is not called so."""
    return f"{share:.0%}" if share <= _NEARLY_ALL else f"more than {_NEARLY_ALL:.0%}"


def _told(looks: Looks) -> Mapping[str, Any]:
    return {
        "b_factor": looks.b_factor,
        "percentile_angstrom": looks.percentile_angstrom,
        "median_angstrom": looks.median_angstrom,
        "counts": looks.counts.tolist(),
    }


def first_b_factor(percentiles: Sequence[tuple[float, float]], wanted_angstrom: float) -> float | None:
    """Return the B factor, Å², at which a map that is sharpened more and more first looks as fine as wanted.

    Parameters
    ----------
    percentiles : B factor and how fine the map looks with it, Å, the highest B factor first; linear between them
    """
    for (b, high), (sharper, low) in pairwise(percentiles):
        if high >= wanted_angstrom > low:
            return b + (high - wanted_angstrom) / (high - low) * (sharper - b)
    return None


def judge_sharpening(
    of: HalfMap,
    before: Sequence[HalfMap],
    mask: FloatArray,
    compute: Compute | None = None,
    *,
    sweep: bool = True,
    look: Told | None = None,
) -> Sharpening:
    """Return how sharp a map looks beside what its signal allows, by DeepRes and MonoRes.

    Parameters
    ----------
    of : the map
    before : the map before sharpening, or two half-maps, whose noise is better known; on its grid
    mask : (n, n, n), 0 to 1
    sweep : look for the B factor that suits it, which takes some ten times as long
    look : tells how fine a map looks; DeepRes with its usual settings if not given

    Raises
    ------
    RegularizerError : a method is not there, or refuses the maps, or their voxels are too coarse.
    UsageError : nothing to compare with.
    """
    if of.nyquist_angstrom > COARSEST_NYQUIST_ANGSTROM:
        finest, needed = f"{of.nyquist_angstrom:.1f} Å", f"{COARSEST_NYQUIST_ANGSTROM:g} Å"
        raise RegularizerError(f"these voxels show nothing finer than {finest}; {LOOK} is for {needed} and finer.")
    if not before:
        raise UsageError("How sharp a map is can be told beside its half-maps or the unsharpened map: give one.")
    compute = compute or cpu()
    first, *others = before
    other = others[0] if others else None
    allowed = told_by(SIGNAL, mask, compute, other)(first)
    look = look or told_by(LOOK, mask, compute)
    unsharpened, agreed = first, None
    if other is not None:
        unsharpened = first.mean_with(other)
        curve = fsc_of_maps(first.density * mask, other.density * mask, compute)
        agreed = resolution_of_last_above(curve, of.pixel_size_angstrom)
    low_pass = max(agreed or float(np.percentile(allowed, _FINEST)), of.nyquist_angstrom)
    return sharpening(of, unsharpened, allowed, look, low_pass, compute, sweep=sweep, fsc_angstrom=agreed)


def sharpening(
    of: HalfMap,
    unsharpened: HalfMap,
    signal_angstrom: FloatArray,
    look: Told,
    low_pass_angstrom: float,
    compute: Compute | None = None,
    *,
    sweep: bool = True,
    fsc_angstrom: float | None = None,
) -> Sharpening:
    """Return how sharp a map looks beside what its signal allows, and how the unsharpened map would look.

    B factors go down in steps that change the last shell's amplitude by √e, until the map looks finer than its
    signal allows, and two steps more.

    Parameters
    ----------
    of : the map
    unsharpened : the same before sharpening, on the same grid
    signal_angstrom : local resolution by signal and noise, Å, at each voxel of the particle
    look : tells how fine a map looks
    low_pass_angstrom : the resolution, beyond which there is noise alone
    sweep : look for the B factor that suits it
    fsc_angstrom : see `Sharpening`
    """
    compute = compute or cpu()
    coarsest = 2.0 * float(np.percentile(signal_angstrom, 90))
    edges = np.linspace(0.5 * of.nyquist_angstrom, max(coarsest, 3 * of.nyquist_angstrom), _BINS + 1)
    _, low_passed = next(_sharpened(of, low_pass_angstrom, compute))
    signal = _looks(signal_angstrom, 0.0, edges)
    as_it_is, cut_off = (_looks(look(each), 0.0, edges) for each in (of, low_passed))
    is_sharpened = not np.array_equal(of.density, unsharpened.density)
    shells = Shells(of.box, compute)
    after = power(shells.spectrum(of.density), shells)
    before = power(shells.spectrum(unsharpened.density), shells) if is_sharpened else after
    found = Sharpening(
        signal=signal,
        map=as_it_is,
        low_passed=cut_off,
        swept=(),
        edges_angstrom=edges,
        low_pass_angstrom=low_pass_angstrom,
        beyond=_share_beyond(after, of, low_pass_angstrom),
        beyond_unsharpened=_share_beyond(before, of, low_pass_angstrom),
        fsc_angstrom=fsc_angstrom,
        applied_b_factor=_applied_b_factor(before, after, of, low_pass_angstrom) if is_sharpened else None,
    )
    if not sweep:
        return found
    swept: list[Looks] = []
    finer = 0
    for b, filtered in _sharpened(unsharpened, low_pass_angstrom, compute):
        is_seen = b == 0.0 and not is_sharpened
        swept.append(cut_off if is_seen else _looks(look(filtered), b, edges))
        finer = finer + 1 if swept[-1].percentile_angstrom < found.allowed_angstrom else 0
        if finer > _STEPS_FINER:
            break
    return replace(found, swept=tuple(swept))


def _looks(resolution_angstrom: FloatArray, b_factor: float, edges: npt.NDArray[np.float64]) -> Looks:
    low, median = (float(value) for value in np.percentile(resolution_angstrom, (PERCENTILE, 50)))
    inside = np.clip(resolution_angstrom, edges[0], edges[-1])
    return Looks(b_factor, low, median, np.histogram(inside, edges)[0])


def _applied_b_factor(
    before: FloatArray, after: FloatArray, of: HalfMap, resolution_angstrom: float
) -> float | None:
    """Return the B factor, Å², that comes nearest to what was done to a map; None if too few shells could tell.

    The last shells before the resolution, which a low-pass to it may bend, do not count.

    Parameters
    ----------
    before, after : (n // 2 + 1,) the power of each shell
    """
    finest, coarsest = (times * resolution_angstrom for times in (_FINEST_FITTED, _COARSEST_FITTED))
    with np.errstate(divide="ignore", invalid="ignore"):  # of shells that are empty
        change = 0.5 * np.log(after / before)
    try:
        return wilson_fit(change, of.pixel_size_angstrom, finest, coarsest).b_factor
    except UsageError:
        return None


def _share_beyond(power_of_shells: FloatArray, of: HalfMap, resolution_angstrom: float) -> float:
    """Return which share of a map's variance is finer than a resolution and the edge of a low-pass to it."""
    variances = power_of_shells[1:]  # the mean is no variance
    first = round(of.box * of.pixel_size_angstrom / resolution_angstrom) + _EDGE_SHELLS
    return float(variances[first - 1 :].sum() / max(variances.sum(), np.finfo(np.float64).tiny))


def _sharpened(unsharpened: HalfMap, low_pass_angstrom: float, compute: Compute) -> Iterator[tuple[float, HalfMap]]:
    """Yield the map with ever lower B factors, Å², low-passed; the first with its own."""
    shells = Shells(unsharpened.box, compute)
    edge = unsharpened.box * unsharpened.pixel_size_angstrom
    count = unsharpened.box // 2 + 1
    frequency = np.arange(count) / edge
    passed = soft_step(count, min(round(edge / low_pass_angstrom), count - 1), _EDGE_SHELLS)
    spectrum = shells.spectrum(unsharpened.density)
    frequency[passed == 0] = 0.0  # where nothing is left the exponential might overflow
    unit = 4 * low_pass_angstrom**2
    for number in range(_MOST_STEPS + 1):
        b = 0.0 - _STEP * unit * number
        scaled = spectrum + 0
        shells.scale(scaled, passed * np.exp(-b * frequency**2 / 4))
        yield b, unsharpened.with_density(shells.density(scaled))


def told_by(
    method: str,
    mask: FloatArray,
    compute: Compute,
    other_half: HalfMap | None = None,
) -> Told:
    """Return what tells a map's local resolution inside a mask by an installed method, with its usual settings.

    Raises
    ------
    RegularizerError : it is not installed or lacks a package; or, when asked, refuses the map or tells nothing.
    """
    plugin = load(method, LOCAL_RESOLUTION_GROUP)
    context = Context(settings=plugin.settings_type(), mask=mask, other_half=other_half, compute=compute)

    def tell(half_map: HalfMap) -> FloatArray:
        found: FloatArray = np.asarray(plugin.estimate(half_map, context).resolution_angstrom)[mask > 0.5]
        if not (found > 0).any():
            raise RegularizerError(f"{method} tells no resolution of any voxel of the mask.")
        return found[found > 0]

    return tell
