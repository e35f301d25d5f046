"""LocalDeblur as a regularizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from extrecon.errors import RegularizerError
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.maps.solvent import inscribed_sphere, masked_map_sentence
from extrecon.regularizer import (
    LOCAL_RESOLUTION_GROUP,
    Context,
    LocalResolutionMethod,
    Regularized,
    Regularizer,
    Treatment,
    load,
)
from extrecon.settings import setting
from extrecon_regularizers.localdeblur.deblur import Deblurred, DeblurSettings, bank_for, deblur_xmipp
from extrecon_regularizers.localdeblur.external import usable_resolution
from extrecon_regularizers.localdeblur.method import automatic_worst, measure, single, sweep_facts, sweep_warnings
from extrecon_regularizers.localdeblur.monores import SIGNAL, MonoResSettings, Sweep
from extrecon_regularizers.localdeblur.paper import deblur_paper

_K = 0.025
_LOW_RESOLUTION_ANGSTROM = 6.0
_LOW_RESOLUTION_K = 0.01
_ROUNDS = 50
_ROUNDS_IN_REFINEMENT = 3
_SMALLEST_SHARE_OF_MASK = 0.15
_SMALLEST_SHARE_OF_SPHERE = 0.02  # a rod ten times longer than thick fills 0.03 with the mask's margin


@dataclass(frozen=True)
class LocalDeblurSettings:
    """What users may choose."""

    variant: str = setting(
        "xmipp", "xmipp iterates as the reference program does, paper as published.", choices=("xmipp", "paper")
    )
    k_per_square_angstrom: float = setting(
        0.0,
        "Narrowness of the weights around the local resolution; 0 for automatic: 0.025, or 0.01 where "
        "the median local resolution is worse than 6 Å.",
        unit="1/Å²",
        minimum=0.0,
        maximum=10.0,
        name="K",
    )
    step: float = setting(0.2, "Spacing of the filters.", unit="Å", minimum=0.05, maximum=1.0)
    rounds: int = setting(
        0, "Largest number of iterations; 0 for automatic: 50, or 3 inside refinement.", minimum=0, maximum=1000
    )
    step_size: float = setting(
        0.0, "Step of the descent; 0 for automatic.", minimum=0.0, maximum=1000.0, name="lambda"
    )
    max_resolution: float = setting(0.0, "Worst local resolution measured; 0 for automatic.", unit="Å", minimum=0.0)
    min_resolution: float = setting(0.0, "Finest local resolution measured; 0 for Nyquist.", unit="Å", minimum=0.0)
    significance: float = setting(
        0.95, "Fraction of the solvent's noise that local resolution must exceed.", minimum=0.5, maximum=0.9999
    )
    local_resolution: str = setting(
        "monores",
        "The installed method that measures local resolution where no map of it is given; any but monores "
        "works with its own defaults, and outside refinement only.",
    )


class LocalDeblur(Regularizer[LocalDeblurSettings]):
    """Local-resolution-guided Wiener restoration (Ramírez-Aportela et al. 2020).

    Without a local-resolution map it measures one with MonoRes, on the same half-map and with the noise of its own
    solvent, so that the half sets stay independent.
    """

    name: ClassVar[str] = "localdeblur"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Sharpens each region to its local resolution (LocalDeblur, Ramírez-Aportela 2020)"
    uses_mask: ClassVar[bool] = True
    settings_type: ClassVar[type[Any]] = LocalDeblurSettings
    treatment_inside_refinement: ClassVar[Treatment] = Treatment("fsc", "flatten")

    def memory_bytes(self, box: int) -> int:
        """Return what was measured, rounded up."""
        return 75 * box**3

    def regularize(self, half_map: HalfMap, context: Context[LocalDeblurSettings]) -> Regularized:
        """Return ``half_map`` deblurred, the local resolution it was guided by, and how it went.

        Raises
        ------
        RegularizerError : neither a mask nor a local-resolution map, or one that cannot be used.
        """
        resolution, facts, warnings = _resolution(half_map, context)
        inside = resolution > 0
        sigma_outside = _sample_deviation(half_map.density[~inside])
        if told := masked_map_sentence(half_map.density, ~inside & inscribed_sphere(half_map.box)):
            warnings.append(told)
        quartiles = [round(float(q), 3) for q in np.percentile(resolution[inside], [25, 50, 75])]
        settings = _deblur_settings(context, quartiles[1])
        deblurred = _deblur(half_map, resolution, sigma_outside, settings, context)
        facts |= {
            "variant": context.settings.variant,
            "K": settings.k_per_square_angstrom,
            "lambda": deblurred.step_size,
            "rounds": deblurred.rounds,
            "sigma_outside": sigma_outside,
            "local_resolution_quartiles_angstrom": quartiles,
            **deblurred.facts,
        }
        density = deblurred.density.astype(half_map.density.dtype, copy=False)
        maps = {"local_resolution": resolution}
        return Regularized(density, facts, maps, [*warnings, *deblurred.warnings])


def _resolution(
    half_map: HalfMap, context: Context[LocalDeblurSettings]
) -> tuple[FloatArray, dict[str, Any], list[str]]:
    """Return the local resolution (Å, 0 outside), facts and warnings."""
    if context.local_resolution is not None:
        resolution, outside = usable_resolution(context.local_resolution, half_map, context.mask)
        return resolution, {"local_resolution": "given", "outside": outside}, []
    if context.mask is None:
        raise RegularizerError(
            "LocalDeblur needs to tell the particle from the solvent: give --mask, or a --local-resolution map."
        )
    given = context.settings
    if given.local_resolution != "monores":
        return _told_by(given.local_resolution, half_map, context)
    settings = MonoResSettings(
        worst_angstrom=given.max_resolution or automatic_worst(half_map, context),
        finest_angstrom=given.min_resolution,
        significance=given.significance,
    )
    sweep = measure(half_map, context, settings)
    if not (sweep.resolution_angstrom > 0).any():
        raise RegularizerError(
            f"MonoRes found no voxel whose signal rises above the noise at {settings.worst_angstrom:.4g} Å."
        )
    if context.inside_refinement:
        _check_standing_out(sweep, half_map, context)
    facts = {"local_resolution": "monores", "monores": sweep_facts(sweep, settings)}
    return sweep.resolution_angstrom.astype(np.float32), facts, sweep_warnings(sweep)


def _told_by(
    name: str, half_map: HalfMap, context: Context[LocalDeblurSettings]
) -> tuple[FloatArray, dict[str, Any], list[str]]:
    """Return what another local-resolution method tells, with that method's own defaults.

    Raises
    ------
    RegularizerError : inside refinement, where no such method has been measured; or no such method.
    """
    if context.inside_refinement:
        raise RegularizerError(f"local-resolution={name} is for maps outside refinement; leave it at monores.")
    method: LocalResolutionMethod = load(name, LOCAL_RESOLUTION_GROUP)
    known: Context = replace(context, settings=method.settings_type(), other_half=None)
    told = method.estimate(half_map, known)
    resolution = np.asarray(told.resolution_angstrom, dtype=np.float32)
    return resolution, {"local_resolution": name, name: dict(told.facts)}, list(told.warnings)


def _check_standing_out(sweep: Sweep, half_map: HalfMap, context: Context[LocalDeblurSettings]) -> None:
    """Refuse what noise alone would show: a speck, or the one voxel in twenty that MonoRes always keeps."""
    found = int((sweep.labels == SIGNAL).sum())
    in_mask = int((context.mask > 0.5).sum()) if context.mask is not None else 0
    diameter = (context.particle_diameter_angstrom or np.inf) / half_map.pixel_size_angstrom
    in_sphere = np.pi / 6 * min(diameter, half_map.box) ** 3
    if found < _SMALLEST_SHARE_OF_MASK * in_mask or found < _SMALLEST_SHARE_OF_SPHERE * in_sphere:
        raise RegularizerError(
            f"Only {found} of the mask's {in_mask} voxels stand out from the solvent, as noise alone would."
        )


def _sample_deviation(values: FloatArray) -> float:
    """Return the sample standard deviation, 0 for fewer than two values, without a copy in double precision."""
    if values.size < 2:
        return 0.0
    departure = values - values.dtype.type(values.mean(dtype=np.float64))
    squares, rest = (float(np.sum(v, dtype=np.float64)) for v in (departure * departure, departure))
    return float(np.sqrt(max(squares - rest * rest / values.size, 0.0) / (values.size - 1)))


def _deblur_settings(context: Context, median_resolution: float) -> DeblurSettings:
    """Return how to deblur, with what is automatic decided."""
    given = context.settings
    is_coarse = median_resolution > _LOW_RESOLUTION_ANGSTROM
    return DeblurSettings(
        k_per_square_angstrom=given.k_per_square_angstrom or (_LOW_RESOLUTION_K if is_coarse else _K),
        step_angstrom=given.step,
        rounds=given.rounds or (_ROUNDS_IN_REFINEMENT if context.inside_refinement else _ROUNDS),
        step_size=given.step_size,
    )


def _deblur(
    half_map: HalfMap,
    resolution: FloatArray,
    sigma_outside: float,
    settings: DeblurSettings,
    context: Context[LocalDeblurSettings],
) -> Deblurred:
    pixel_size, compute, progress = half_map.pixel_size_angstrom, context.compute, context.progress
    if context.settings.variant == "xmipp":
        settings = replace(
            settings,
            k_per_square_angstrom=single(settings.k_per_square_angstrom),
            step_size=single(settings.step_size),
        )
        return deblur_xmipp(
            half_map.density,
            resolution,
            single(pixel_size),
            sigma_outside,
            settings,
            compute=compute,
            progress=progress,
        )
    inside = resolution > 0
    variance_inside = float(half_map.density[inside].var(dtype=np.float64))
    if sigma_outside == 0.0:
        raise RegularizerError(
            "The paper's variant needs noise outside the particle, but the map is constant there."
        )
    return deblur_paper(
        half_map.density,
        bank_for(compute, resolution, pixel_size, settings, whole_box=True),
        variance_inside / sigma_outside**2,
        rounds=settings.rounds,
        compute=compute,
        step_size=settings.step_size,
        progress=progress,
    )
