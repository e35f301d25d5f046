"""Reference profiles without a reference: a window's own low resolution, and average structures beyond.

Source: Bharadwaj & Jakobi, Faraday Discuss. 240, 168 (2022), from which the form here departs in three points: the
window's profile is freed of the solvent's noise; its B factor is fitted against the average profile itself, so that
the profile's waves do not pass for a fall-off; and a B factor that the window hardly tells is drawn towards the
whole particle's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrecon_regularizers.profile.average import average_profile
from extrecon_regularizers.profile.solvent import signal, trust

Values = npt.NDArray[np.float64]

WILSON_START_AT_1_DA = 0.309  # 1/Å; Singer, Acta Cryst. D 77, 2021: 1/d = 0.309 MW^(−1/12)
DALTON_PER_CUBIC_ANGSTROM = 0.8
_SHARPNESS = 2.0  # of the change from the window's own profile to the average one, 1/Å
LARGEST_B = 800.0
_TRUST = 4  # power of a shell's share of signal in its weight: one that noise or a neighbour fills says nothing
_FEWEST_SHELLS = 3


@dataclass(frozen=True)
class Plan:
    """What holds for all windows of a map.

    Attributes
    ----------
    frequency_per_angstrom : (shells,) of the windows' shells
    average : (shells,) the average profile there
    noise : (shells,) the solvent's mean amplitude
    wilson_angstrom : where the average profile takes over
    finest_angstrom : the finest resolution that B factors are fitted to, and that holds signal
    target_b : B factor that the result should have, Å²
    """

    frequency_per_angstrom: Values
    average: Values
    noise: Values
    wilson_angstrom: float
    finest_angstrom: float
    target_b: float


@dataclass(frozen=True)
class LocalB:
    """B factors of windows.

    Attributes
    ----------
    b_factor : (windows,) Å², drawn towards the whole particle's
    amplitude : (windows,) ln of the scale of the average profile
    r_squared : (windows,) how much of the fall the fit explains, weighted
    whole : B factor of the mean profile, Å²
    """

    b_factor: Values
    amplitude: Values
    r_squared: Values
    whole: float


def plan(
    kind: str,
    shells: int,
    window_angstrom: float,
    noise: Values,
    mass_dalton: float,
    finest_angstrom: float,
    target_b: float,
) -> Plan:
    """Return what holds for all windows.

    Parameters
    ----------
    kind : of the average profile
    shells : of a window, 0 … h
    window_angstrom : edge of a window
    noise : (shells,) mean amplitude of the solvent's windows
    mass_dalton : the particle's
    finest_angstrom : resolution limit
    target_b : Å²; 0 for 4 d², at which exp(−B s² / 4) is 1/e at the limit d
    """
    frequency = np.arange(shells) / window_angstrom
    wilson = 1 / (WILSON_START_AT_1_DA * mass_dalton ** (-1 / 12))
    # At least so many shells must be left for the fit.
    widest = 1 / frequency[max(shells - 1 - _FEWEST_SHELLS, 1)]
    finest = max(finest_angstrom, 1 / frequency[-1])
    wilson = max(wilson, min(widest, finest * 1.5))
    return Plan(
        frequency,
        average_profile(kind, np.maximum(frequency, frequency[1])),
        noise,
        wilson,
        finest,
        target_b or 4 * finest**2,
    )


def fit_b_factors(profiles: npt.NDArray[np.float32], plan: Plan) -> LocalB:
    """Fit ln(signal / average) = ln a − B s² / 4 from the Wilson start to the finest resolution, window by window.

    A shell's weight is its number of points times a power of its signal's share. The scatter of the fits over the
    windows, less what their own uncertainty explains, is how much B factors truly vary; a fit is drawn towards the
    whole particle's B in the ratio of the two variances (James & Stein).
    """
    own = signal(profiles, plan.noise)
    frequency = plan.frequency_per_angstrom
    used = (frequency >= 1 / plan.wilson_angstrom - 1e-9) & (frequency <= 1 / plan.finest_angstrom + 1e-9)
    if used.sum() < _FEWEST_SHELLS:
        used = np.zeros(len(frequency), bool)
        used[-_FEWEST_SHELLS:] = True
    x = -(frequency[used] ** 2) / 4
    y = np.log(np.maximum(own[:, used], 1e-30) / plan.average[used])
    power = np.maximum(profiles[:, used].astype(np.float64), 1e-30) ** 2
    share = own[:, used] ** 2 / power
    weights = share**_TRUST * np.arange(len(frequency))[used] ** 2
    slope, height, r_squared, variance = _lines(x, y, weights)
    whole_y = np.log(np.maximum(np.sqrt((own[:, used] ** 2).mean(axis=0)), 1e-30) / plan.average[used])
    whole = float(_lines(x, whole_y[None], weights.mean(axis=0)[None])[0][0])
    spread = max(float(np.median(np.abs(slope - np.median(slope)))) * 1.4826, 1e-6) ** 2
    true_variance = max(spread - float(np.median(variance)), 0.05 * spread)
    drawn = (slope * true_variance + whole * variance) / (true_variance + variance)
    b_factor = np.clip(drawn, -LARGEST_B / 4, LARGEST_B)
    centre = (weights * x).sum(axis=1) / weights.sum(axis=1)
    return LocalB(b_factor, height + (slope - b_factor) * centre, r_squared, whole)


def _lines(x: Values, y: Values, weights: Values) -> tuple[Values, Values, Values, Values]:
    """Return slope, height at 0, weighted R² and the slope's variance of each row's line through (x, y)."""
    total = weights.sum(axis=1)
    mean_x, mean_y = (weights * x).sum(axis=1) / total, (weights * y).sum(axis=1) / total
    dx, dy = x - mean_x[:, None], y - mean_y[:, None]
    sxx, sxy, syy = ((weights * a * b).sum(axis=1) for a, b in ((dx, dx), (dx, dy), (dy, dy)))
    slope = sxy / sxx
    left = np.maximum(syy - slope * sxy, 0.0)
    r_squared = 1 - left / np.maximum(syy, 1e-30)
    return slope, mean_y - slope * mean_x, r_squared, left / (max(y.shape[1] - 2, 1) * sxx)


def factors(profiles: npt.NDArray[np.float32], local: LocalB, plan: Plan) -> tuple[npt.NDArray[np.float32], Values]:
    """Return by what each shell of each window should be multiplied, (windows, shells), and what it is to become.

    Coarser than the Wilson start the window's own profile stands, with its B factor changed to the target; finer,
    the average profile with the target B. Where noise takes a share of the power the factor falls (`trust`).
    """
    own = signal(profiles, plan.noise)
    squared = plan.frequency_per_angstrom**2
    restored = own * np.exp((local.b_factor[:, None] - plan.target_b) * squared / 4)
    averaged = np.exp(local.amplitude)[:, None] * plan.average * np.exp(-plan.target_b * squared / 4)
    resolution = 1 / np.maximum(plan.frequency_per_angstrom, 1e-6)
    coarse = 1 / (1 + np.exp(np.clip(-_SHARPNESS * (resolution - plan.wilson_angstrom), -50, 50)))
    wanted = restored * coarse + averaged * (1 - coarse)
    weight = trust(profiles, plan.noise, plan.frequency_per_angstrom, plan.finest_angstrom)
    return np.asarray(wanted / np.maximum(own, 1e-30) * weight, dtype=np.float32), wanted
