"""Profile scaling as a regularizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError
from extrecon.fourier.lattice import Lattice, LatticeFactors
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.maps.solvent import inscribed_sphere, masked_map_sentence
from extrecon.regularizer import Context, Regularized, Regularizer, Treatment
from extrecon.settings import setting
from extrecon_regularizers.profile import model_free
from extrecon_regularizers.profile.average import KINDS
from extrecon_regularizers.profile.confidence import CONFIDENCE, confidence_map
from extrecon_regularizers.profile.reference import reference_density
from extrecon_regularizers.profile.scaling import (
    Padded,
    Profiles,
    lattice_of,
    ratio,
    scaled_by_bank,
    scaled_by_kernels,
)
from extrecon_regularizers.profile.solvent import finest_above_noise, finest_from_fsc, solvent_profile, trust
from extrecon_regularizers.profile.windows import Window, ball, cube, local_profiles, size_for

_MOST_AT_THE_LIMIT = 0.2
_STRIDE_SHARE = 8
"""An automatic stride is an eighth of the window, which stays within 1 % rms of exact windows."""


@dataclass(frozen=True)
class ProfileSettings:
    """What users may choose."""

    reference: str = setting("", "Reference map on the same grid; none: average profiles.")
    model: str = setting("", "Atomic model (PDB, mmCIF) in the map's frame, in place of a reference map.")
    allow_reference: bool = setting(
        False, "Permit a reference inside refinement, where particles are then aligned to what it knows."
    )
    profile: str = setting("mixed", "Average profile where there is no reference.", choices=KINDS)
    variant: str = setting(
        "sphere",
        "sphere: round windows, all directions; locscale: cubes, as that program.",
        choices=("sphere", "locscale"),
    )
    window: float = setting(25.0, "Width of the window.", unit="Å", minimum=5.0, maximum=200.0)
    stride: int = setting(0, "Voxels between windows; 1 for exact, 0 for an eighth of the window.", minimum=0)
    target_b: float = setting(
        0.0, "B factor of the result without a reference; 0: 4 d² at resolution d.", unit="Å²", name="target-B"
    )
    mask: str = setting(
        "auto",
        "fdr: the map's own confidence mask; given: --mask or the like; auto: given if there is one.",
        choices=("auto", "fdr", "given"),
    )


class Profile(Regularizer[ProfileSettings]):
    """Local amplitude scaling: each window's radial profile is brought to that of a reference, or of proteins.

    With a reference map or model as in LocScale (Jakobi et al., eLife 6, e27131, 2017). Without one the reference
    is the window's own low resolution joined to average profiles (Bharadwaj & Jakobi, Faraday Discuss. 2022).
    """

    name: ClassVar[str] = "profile"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Scales local amplitudes to a reference's, or to average profiles (LocScale)"
    uses_mask: ClassVar[bool] = True
    settings_type: ClassVar[type[Any]] = ProfileSettings
    treatment_inside_refinement: ClassVar[Treatment] = Treatment("fsc", "flatten")

    def memory_bytes(self, box: int) -> int:
        """Return what was measured, rounded up."""
        return 65 * box**3

    def regularize(self, half_map: HalfMap, context: Context[ProfileSettings]) -> Regularized:
        """Return ``half_map`` with its amplitudes scaled inside the mask, 0 outside, and maps of what was fitted.

        Raises
        ------
        RegularizerError : no mask, a reference that does not fit, or one inside refinement without leave.
        """
        _check_reference_allowed(context)
        mask, facts, maps = _mask(half_map, context)
        case = _Case.of(half_map, mask, context)
        warnings = case.warnings()
        found = _with_reference(case) if _has_reference(context) else _without_reference(case)
        scaled = case.scaled(found.factors)
        facts |= found.facts | {
            "variant": context.settings.variant,
            "window_px": case.window.size,
            "stride_px": case.lattice.stride,
        }
        return Regularized(
            scaled, facts, maps | found.maps, warnings + found.warnings, found.curves(case), mask=mask
        )


@dataclass(frozen=True)
class _Case:
    """A map, where its windows are, and how they are scaled."""

    half_map: HalfMap
    inside: npt.NDArray[np.bool_]
    window: Window
    lattice: Lattice
    context: Context[ProfileSettings]

    @classmethod
    def of(cls, half_map: HalfMap, mask: FloatArray, context: Context[ProfileSettings]) -> _Case:
        given = context.settings
        size = size_for(half_map.pixel_size_angstrom, given.window)
        if size > half_map.box:
            raise RegularizerError(
                f"The window of {given.window} Å is {size} voxels, but the map is {half_map.box}³: "
                "give a smaller --set window."
            )
        inside = mask >= 0.5
        if not inside.any():
            raise RegularizerError("The mask has no voxel of 0.5 or more: there is nothing to scale.")
        window = cube(size) if given.variant == "locscale" else ball(size)
        stride = given.stride or max(1, size // _STRIDE_SHARE)
        return cls(half_map, inside, window, lattice_of(inside, stride), context)

    @property
    def window_angstrom(self) -> float:
        return self.window.size * self.half_map.pixel_size_angstrom

    @property
    def frequency_per_angstrom(self) -> npt.NDArray[np.float64]:
        """Of the windows' shells, (half + 1,)."""
        return np.arange(self.window.half + 1) / self.window_angstrom

    def warnings(self) -> list[str]:
        """Return what to tell of a map whose noise cannot be measured."""
        around = ~self.inside & inscribed_sphere(self.half_map.box)
        told = masked_map_sentence(self.half_map.density, around)
        return [told] if told else []

    def noise(self) -> npt.NDArray[np.float64]:
        """Return the solvent's mean amplitude in each shell."""
        return solvent_profile(self.half_map.density, self.inside, self.window, self.context.compute)

    def finest_angstrom(self, own: Profiles, noise: npt.NDArray[np.float64]) -> float:
        """Return how fine the signal reaches, by the half-map FSC or else by the noise."""
        if self.context.half_map_fsc is not None:
            return finest_from_fsc(self.context.half_map_fsc, self.half_map)
        return finest_above_noise(own, noise, self.window_angstrom)

    def profiles(self, density: FloatArray) -> Profiles:
        """Return the profiles of a map's windows."""
        self.context.progress("local profiles", 0.0)
        compute = self.context.compute
        padded = Padded.around(density, self.inside, self.lattice, self.window.half, compute)
        found = local_profiles(padded.volume, padded.corner, self.lattice, self.window, compute)
        self.context.progress("local profiles", 1.0)
        return found

    def scaled(self, factors: Profiles) -> npt.NDArray[np.float32]:
        """Return the map with its windows' shells multiplied, 0 outside the mask."""
        self.context.progress("scaling", 0.0)
        compute, density = self.context.compute, self.half_map.density
        if self.window.octant:
            padded = Padded.around(density, self.inside, self.lattice, self.window.half, compute)
            done = scaled_by_kernels(padded, self.lattice, factors, self.inside, self.window, compute)
        else:
            done = scaled_by_bank(density, self.lattice, factors, self.inside, self.window, compute)
        self.context.progress("scaling", 1.0)
        return done

    def as_map(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Return numbers known for each window as a map, 0 outside the mask."""
        compute = self.context.compute
        field = LatticeFactors(compute, self.lattice, values[:, None], self.inside)
        result = np.zeros(self.inside.shape, np.float32)
        result[self.lattice.block] = compute.to_numpy(field.slab(slice(0, 1), slice(None))[0])
        return result


def _has_reference(context: Context[ProfileSettings]) -> bool:
    return bool(context.settings.reference or context.settings.model)


def _check_reference_allowed(context: Context[ProfileSettings]) -> None:
    if context.inside_refinement and _has_reference(context) and not context.settings.allow_reference:
        raise RegularizerError(
            "A reference inside refinement biases the alignment towards it. If that is meant, "
            "give --set allow-reference=true"
        )


def _mask(
    half_map: HalfMap, context: Context[ProfileSettings]
) -> tuple[FloatArray, dict[str, Any], dict[str, FloatArray]]:
    """Return the mask, facts and maps."""
    wanted = context.settings.mask
    if wanted == "fdr" or (wanted == "auto" and context.mask_is_made and not context.inside_refinement):
        confidence = confidence_map(half_map.density)
        mask = (confidence >= CONFIDENCE).astype(np.float32)
        return mask, {"mask": f"confidence of {CONFIDENCE:g} or more"}, {"confidence": confidence}
    if context.mask is None:
        raise RegularizerError("Profile scaling needs to tell the particle from the solvent: give --mask.")
    return context.mask, {}, {}


@dataclass(frozen=True)
class _Scaling:
    """How to scale the windows.

    Attributes
    ----------
    own, wanted, factors : (windows, shells) the map's profiles, what they are brought to, and by which factors
    facts, maps, warnings : as in `Regularized`
    """

    own: Profiles
    wanted: npt.NDArray[np.floating]
    factors: Profiles
    facts: dict[str, Any]
    maps: dict[str, FloatArray]
    warnings: list[str]

    def curves(self, case: _Case) -> dict[str, npt.NDArray[np.floating]]:
        """Return the means over the windows, for a plot."""
        means = {"before": self.own, "reference": self.wanted, "after": self.own * self.factors}
        return {name: np.stack([case.frequency_per_angstrom, p.mean(axis=0)]) for name, p in means.items()}


def _with_reference(case: _Case) -> _Scaling:
    """Bring the windows to a reference's profiles; round windows are also weighted for their noise."""
    given = case.context.settings
    density, what, notes = reference_density(given.reference, given.model, case.half_map)
    own, wanted = case.profiles(case.half_map.density), case.profiles(density)
    factors = ratio(wanted, own)
    facts: dict[str, Any] = {"reference": what, "reference_used": True}
    if not case.window.octant:
        noise = case.noise()
        finest = case.finest_angstrom(own, noise)
        factors *= trust(own, noise, case.frequency_per_angstrom, finest).astype(np.float32)
        facts["finest_angstrom"] = round(finest, 2)
    return _Scaling(own, wanted, factors, facts, {}, notes)


def _without_reference(case: _Case) -> _Scaling:
    """Bring the windows to average profiles; tell the B factors and R² that were fitted."""
    context, half_map = case.context, case.half_map
    own, noise = case.profiles(half_map.density), case.noise()
    volume = float(case.inside.sum()) * half_map.pixel_size_angstrom**3
    plan = model_free.plan(
        context.settings.profile,
        case.window.half + 1,
        case.window_angstrom,
        noise,
        max(volume * model_free.DALTON_PER_CUBIC_ANGSTROM, 1000.0),
        case.finest_angstrom(own, noise),
        context.settings.target_b,
    )
    local = model_free.fit_b_factors(own, plan)
    quartiles = [round(float(q), 1) for q in np.percentile(local.b_factor, [25, 50, 75])]
    facts = {
        "profile": context.settings.profile,
        "wilson_start_angstrom": round(plan.wilson_angstrom, 2),
        "finest_angstrom": round(plan.finest_angstrom, 2),
        "target_b": round(plan.target_b, 1),
        "whole_b": round(local.whole, 1),
        "b_quartiles": quartiles,
        "median_r_squared": round(float(np.median(local.r_squared)), 3),
    }
    maps: dict[str, FloatArray] = {
        "local_b": case.as_map(local.b_factor),
        "r_squared": case.as_map(local.r_squared),
    }
    factors, wanted = model_free.factors(own, local, plan)
    return _Scaling(own, wanted, factors, facts, maps, _b_warnings(local, plan))


def _b_warnings(local: model_free.LocalB, plan: model_free.Plan) -> list[str]:
    share = float(np.mean(local.b_factor >= model_free.LARGEST_B))
    if share <= _MOST_AT_THE_LIMIT:
        return []
    return [
        f"{share:.0%} of the B factors reached the limit of {model_free.LARGEST_B:g} Å²: "
        f"at {plan.finest_angstrom:.1f} Å they cannot be told"
    ]
