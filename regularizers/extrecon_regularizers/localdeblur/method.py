"""MonoRes as a local-resolution method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np

from extrecon.errors import RegularizerError
from extrecon.fourier.resolution import GOLD_STANDARD, first_shell_under
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.regularizer import Context, LocalResolution, LocalResolutionMethod
from extrecon.settings import setting
from extrecon_regularizers.grids import check_mask, check_other_half
from extrecon_regularizers.localdeblur.monores import SIGNAL, MonoResSettings, Sweep, local_resolution

_REFERENCE_STEP_ANGSTROM = 0.25
_AUTOMATIC_WORST_ANGSTROM = 20.0
_FEWEST_SHELLS = 4


@dataclass(frozen=True)
class MonoResChoices:
    """What users may choose."""

    variant: str = setting(
        "standard",
        "standard keeps the level at Nyquist; xmipp reproduces the reference program, which never assigns it.",
        choices=("standard", "xmipp"),
    )
    max_resolution: float = setting(0.0, "Worst resolution tested; 0 for automatic.", unit="Å", minimum=0.0)
    min_resolution: float = setting(0.0, "Finest resolution tested; 0 for Nyquist.", unit="Å", minimum=0.0)
    step: float = setting(0.25, "Distance between the resolutions tested.", unit="Å", minimum=0.05, maximum=10.0)
    significance: float = setting(
        0.95, "Fraction of the noise that a voxel's amplitude must exceed.", minimum=0.5, maximum=0.9999
    )
    gaussian: bool = setting(False, "Take the noise's quantile from its mean and standard deviation.")
    noise_only_in_halves: bool = setting(False, "Trust the mask: leave none of its voxels out as solvent.")


class MonoRes(LocalResolutionMethod[MonoResChoices]):
    """Local resolution by monogenic amplitudes (Vilas et al. 2018), of one map or of two halves."""

    name: ClassVar[str] = "monores"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Local resolution where the monogenic amplitude rises above the noise (MonoRes)"
    settings_type: ClassVar[type[Any]] = MonoResChoices

    def estimate(self, half_map: HalfMap, context: Context[MonoResChoices]) -> LocalResolution:
        """Return the local resolution of ``half_map``, or of the mean of it and ``context.other_half``.

        Raises
        ------
        RegularizerError : no mask, or boxes that differ, or nothing to measure.
        """
        volume, noise = _mean_and_noise(half_map, context.other_half)
        given = context.settings
        xmipp = given.variant == "xmipp"
        settings = MonoResSettings(
            worst_angstrom=given.max_resolution or automatic_worst(half_map, context),
            finest_angstrom=given.min_resolution,
            step_angstrom=given.step,
            significance=given.significance,
            gaussian=given.gaussian,
            refine_mask=not given.noise_only_in_halves,
            keep_nyquist=not xmipp,
        )
        if xmipp:
            settings = _as_read_by_the_reference(settings)
            half_map = replace(half_map, pixel_size_angstrom=single(half_map.pixel_size_angstrom))
        sweep = measure(half_map.with_density(volume), context, settings, noise)
        maps = {"refined_mask": (sweep.labels == SIGNAL).astype(np.float32)}
        return LocalResolution(sweep.resolution_angstrom, sweep_facts(sweep, settings), maps, sweep_warnings(sweep))


def measure(
    half_map: HalfMap, context: Context, settings: MonoResSettings, noise: FloatArray | None = None
) -> Sweep:
    """Run MonoRes on one map in the context's mask.

    Raises
    ------
    RegularizerError : there is no mask, its box is another, or nothing can be measured.
    """
    if context.mask is None:
        raise RegularizerError("MonoRes needs a mask to tell the particle from the solvent; give one with --mask.")
    check_mask(context.mask, half_map)
    if settings.worst_angstrom <= max(settings.finest_angstrom, half_map.nyquist_angstrom):
        raise RegularizerError(
            f"max-resolution {settings.worst_angstrom:.4g} Å is not worse than the finest level to test, "
            f"{max(settings.finest_angstrom, half_map.nyquist_angstrom):.4g} Å."
        )
    return local_resolution(
        half_map.density,
        context.mask,
        half_map.pixel_size_angstrom,
        settings,
        compute=context.compute,
        noise=noise,
        progress=context.progress,
    )


def automatic_worst(half_map: HalfMap, context: Context) -> float:
    """Return the resolution at which a sweep should start, Å.

    Three times the FSC's resolution where the FSC is known, and 20 Å or five times Nyquist at least; but no fewer
    than four shells from the origin, and no finer than twice Nyquist.
    """
    worst = max(_AUTOMATIC_WORST_ANGSTROM, 5.0 * half_map.nyquist_angstrom)
    fsc = context.half_map_fsc
    if fsc is not None and len(fsc) > 1:
        shell = min(first_shell_under(fsc, GOLD_STANDARD), len(fsc) - 1)
        worst = max(worst, 3.0 * half_map.box * half_map.pixel_size_angstrom / shell)
    coarsest = half_map.box * half_map.pixel_size_angstrom / _FEWEST_SHELLS
    return max(min(worst, coarsest), 2.0 * half_map.nyquist_angstrom)


def sweep_facts(sweep: Sweep, settings: MonoResSettings) -> dict[str, object]:
    """Return what the record should say about a sweep."""
    inside = sweep.resolution_angstrom[sweep.resolution_angstrom > 0]
    quartiles = [round(float(q), 3) for q in np.percentile(inside, [25, 50, 75])] if inside.size else []
    return {
        **sweep.facts,
        "quartiles_angstrom": quartiles,
        "worst_tested_angstrom": settings.worst_angstrom,
        "levels": len(sweep.levels_angstrom),
        "ended_because": sweep.ending,
    }


def sweep_warnings(sweep: Sweep) -> list[str]:
    """Return what the user should know about a sweep."""
    if not sweep.levels_angstrom:
        return []
    inside = sweep.resolution_angstrom[sweep.labels == SIGNAL]
    share = float((inside >= sweep.levels_angstrom[0] - 1e-3).mean())
    if share <= 0.05:
        return []
    return [
        f"{share:.0%} of the particle is no better than the worst level tested, {sweep.levels_angstrom[0]:.1f} Å."
    ]


def _mean_and_noise(half_map: HalfMap, other: HalfMap | None) -> tuple[FloatArray, FloatArray | None]:
    if other is None:
        return half_map.density, None
    check_other_half(half_map, other)
    first_half, second_half = half_map.density.astype(np.float64), other.density.astype(np.float64)
    mean, noise = (first_half + second_half) / 2.0, (first_half - second_half) / 2.0
    return cast("FloatArray", mean), cast("FloatArray", noise)


def _as_read_by_the_reference(settings: MonoResSettings) -> MonoResSettings:
    """Return the settings as the reference program reads them: in single precision, steps of 0.25 Å at least."""
    return MonoResSettings(
        worst_angstrom=single(settings.worst_angstrom),
        finest_angstrom=single(settings.finest_angstrom),
        step_angstrom=max(single(settings.step_angstrom), _REFERENCE_STEP_ANGSTROM),
        significance=single(settings.significance),
        gaussian=settings.gaussian,
        refine_mask=settings.refine_mask,
        keep_nyquist=False,
    )


def single(value: float) -> float:
    """Round to single precision, as the reference program does with the numbers of its command line."""
    return float(np.float32(value))
