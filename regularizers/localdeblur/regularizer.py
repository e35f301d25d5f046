"""LocalDeblur as a regularizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from extrecon.errors import RegularizerError
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.regularizer import Context, Parameter, Regularized, Regularizer
from regularizers.localdeblur.deblur import Deblurred, DeblurSettings, bank_for, deblur_xmipp
from regularizers.localdeblur.external import usable_resolution
from regularizers.localdeblur.method import automatic_worst, measure, single, sweep_facts, sweep_warnings
from regularizers.localdeblur.monores import MonoResSettings
from regularizers.localdeblur.paper import deblur_paper

_LOW_RESOLUTION_ANGSTROM = 6.0
_LOW_RESOLUTION_K = 0.01


class LocalDeblur(Regularizer):
    """Local-resolution-guided Wiener restoration (Ramírez-Aportela et al. 2020).

    Without a local-resolution map it measures one with MonoRes, on the same half-map and with the noise of its own
    solvent, so that the half sets stay independent.
    """

    name: ClassVar[str] = "localdeblur"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Sharpens each region to its local resolution (LocalDeblur, Ramírez-Aportela 2020)"
    uses_mask: ClassVar[bool] = True
    parameters: ClassVar[Sequence[Parameter]] = (
        Parameter(
            "variant",
            "xmipp",
            "xmipp iterates as the reference program does, paper as published.",
            choices=("xmipp", "paper"),
        ),
        Parameter(
            "K",
            0.025,
            "Narrowness of the weights around the local resolution; 0.01 for maps worse than 6 Å.",
            "1/Å²",
            minimum=1e-4,
            maximum=10.0,
        ),
        Parameter("step", 0.2, "Spacing of the filters.", "Å", minimum=0.05, maximum=1.0),
        Parameter("rounds", 50, "Largest number of iterations.", minimum=1, maximum=1000),
        Parameter("lambda", 0.0, "Step of the descent; 0 for automatic.", minimum=0.0, maximum=1000.0),
        Parameter("max-resolution", 0.0, "Worst local resolution measured; 0 for automatic.", "Å", minimum=0.0),
        Parameter("min-resolution", 0.0, "Finest local resolution measured; 0 for Nyquist.", "Å", minimum=0.0),
        Parameter(
            "significance",
            0.95,
            "Fraction of the solvent's noise that local resolution must exceed.",
            minimum=0.5,
            maximum=0.9999,
        ),
    )

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        """Return ``half_map`` deblurred, the local resolution it was guided by, and how it went.

        Raises
        ------
        RegularizerError : neither a mask nor a local-resolution map, or one that cannot be used.
        """
        resolution, facts, warnings = _resolution(half_map, context)
        inside = resolution > 0
        sigma_outside = _sample_deviation(half_map.density[~inside])
        if sigma_outside == 0.0:
            warnings.append(
                "The map is constant outside the particle, so nothing tells the noise: try another mask."
            )
        quartiles = [round(float(q), 3) for q in np.percentile(resolution[inside], [25, 50, 75])]
        k = float(context.settings["K"])
        is_coarse = quartiles[1] > _LOW_RESOLUTION_ANGSTROM and k > _LOW_RESOLUTION_K
        # In a refinement the same advice in every iteration would drown what matters.
        if is_coarse and not context.inside_refinement:
            warnings.append(
                f"The median local resolution is {quartiles[1]} Å: K=0.01 is advised above 6 Å, not {k}."
            )
        deblurred = _deblur(half_map, resolution, sigma_outside, context)
        facts |= {
            "variant": context.settings["variant"],
            "lambda": deblurred.step_size,
            "rounds": deblurred.rounds,
            "sigma_outside": sigma_outside,
            "local_resolution_quartiles_angstrom": quartiles,
            **deblurred.facts,
        }
        density = deblurred.density.astype(half_map.density.dtype, copy=False)
        maps = {"local_resolution": resolution}
        return Regularized(density, facts, maps, [*warnings, *deblurred.warnings])


def _resolution(half_map: HalfMap, context: Context) -> tuple[FloatArray, dict[str, Any], list[str]]:
    """Return the local resolution (Å, 0 outside), facts and warnings."""
    if context.local_resolution is not None:
        resolution, outside = usable_resolution(context.local_resolution, half_map, context.mask)
        return resolution, {"local_resolution": "given", "outside": outside}, []
    if context.mask is None:
        raise RegularizerError(
            "LocalDeblur needs to tell the particle from the solvent: give --mask, or a --local-resolution map."
        )
    given = context.settings
    settings = MonoResSettings(
        worst_angstrom=float(given["max-resolution"]) or automatic_worst(half_map, context),
        finest_angstrom=float(given["min-resolution"]),
        significance=float(given["significance"]),
    )
    sweep = measure(half_map, context, settings)
    if not (sweep.resolution_angstrom > 0).any():
        raise RegularizerError(
            f"MonoRes found no voxel whose signal rises above the noise at {settings.worst_angstrom:.4g} Å."
        )
    facts = {"local_resolution": "monores", "monores": sweep_facts(sweep, settings)}
    return sweep.resolution_angstrom.astype(np.float32), facts, sweep_warnings(sweep)


def _sample_deviation(values: FloatArray) -> float:
    """Return the sample standard deviation, 0 for fewer than two values, without a copy in double precision."""
    if values.size < 2:
        return 0.0
    departure = values - values.dtype.type(values.mean(dtype=np.float64))
    squares, rest = (float(np.sum(v, dtype=np.float64)) for v in (departure * departure, departure))
    return float(np.sqrt(max(squares - rest * rest / values.size, 0.0) / (values.size - 1)))


def _deblur(half_map: HalfMap, resolution: FloatArray, sigma_outside: float, context: Context) -> Deblurred:
    given = context.settings
    settings = DeblurSettings(
        k_per_square_angstrom=float(given["K"]),
        step_angstrom=float(given["step"]),
        rounds=int(given["rounds"]),
        step_size=float(given["lambda"]),
    )
    pixel_size, compute, progress = half_map.pixel_size_angstrom, context.compute, context.progress
    if given["variant"] == "xmipp":
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
