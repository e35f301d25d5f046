"""What extrecon does with every regularizer's density before the safeguards judge it.

Inside refinement a regularized map by itself can harm: the half-map is poor in early iterations, and shells are
changed that need no help. Four steps here, each declared by the regularizer (`Treatment`) and changed by the user:

symmetry the density is averaged over the refinement's point group, as the half-map is
blend    each Fourier shell of the density is scaled onto the half-map's, and mixed with it
solvent  what lies outside the mask is set to its mean
beyond   where the half-maps do not agree, the half-map's own Fourier coefficients stand, no stronger than the
         regularizer would have them; where the solvent was flattened, nothing. A network goes on where its input
         ends. Two half-maps that share their low frequencies would then share what it makes of them, and their
         FSC would rise beyond anything the data show.

A fifth, `data`, follows the safeguards: `extrecon.call.data_step`.

The pages of the regularizers tell what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from extrecon.call.symmetry import averaged
from extrecon.errors import RegularizerError
from extrecon.fourier.compute import Compute
from extrecon.fourier.masks import particle_mask
from extrecon.fourier.resolution import last_shell_above
from extrecon.fourier.shells import Shells, correlation, power, soft_step
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.options.suggestion import with_dashes
from extrecon.regularizer import Context, Regularized, Regularizer, Treatment
from extrecon.settings import Setting, parameters_of, read_settings, refuse_unknown, setting

Curve = npt.NDArray[np.float64]

LEAST_AGREEMENT = 0.02
EDGE_SHELLS = 2
_SMOOTHED_OVER_SHELLS = 5
_WITHOUT_FSC = 0.5
_SOLVENT = 0.01  # the mask below this is solvent


@dataclass(frozen=True)
class Wishes:
    """What the user wants done with the density; "auto" for what the regularizer declares."""

    blend: str = setting(
        "auto",
        "The regularizer's part of each Fourier shell: all, half, 1 - FSC (fsc), by its confidence in each voxel, "
        "or its density as it is (none).",
        choices=("auto", "none", "all", "half", "fsc", "confidence"),
    )
    solvent: str = setting(
        "auto", "flatten what lies outside the mask, or keep it.", choices=("auto", "flatten", "keep")
    )
    symmetry: str = setting(
        "auto",
        "average the density over the point group of the refinement, or keep it (inside refinement).",
        choices=("auto", "average", "keep"),
    )
    data: str = setting(
        "auto",
        "consistent: weigh the density against the half-map's Fourier data, point by point (inside refinement).",
        choices=("auto", "ignored", "consistent"),
    )

    def over(self, declared: Treatment) -> Treatment:
        """Return what is to be done."""
        wanted: dict[str, Any] = {key: word for key, word in vars(self).items() if word != "auto"}
        return replace(declared, **wanted)


def split_settings(plugin: Regularizer[Any], given: Mapping[str, Setting]) -> tuple[Wishes, Any]:
    """Return what the user wants done with the density, and the regularizer's own settings.

    Raises
    ------
    UsageError : a name that is neither's, or a value out of its range.
    RegularizerError : the plugin declares a parameter that is extrecon's own, or wrongly.
    """
    ours, theirs = parameters_of(Wishes), parameters_of(plugin.settings_type)
    names = {p.name for p in ours}
    taken = sorted(names & {p.name for p in theirs})
    if taken:
        raise RegularizerError(f"{plugin.name} declares the parameter '{taken[0]}', which is extrecon's own.")
    owner = f"The regularizer {plugin.name}"
    given = with_dashes(given, [p.name for p in (*theirs, *ours)])
    refuse_unknown(given, [*theirs, *ours], owner)
    wishes = read_settings(Wishes, {name: given[name] for name in given if name in names}, owner)
    own = {name: given[name] for name in given if name not in names}
    return wishes, read_settings(plugin.settings_type, own, owner)


def declared_treatment(plugin: Regularizer[Any], *, inside_refinement: bool) -> Treatment:
    """Return what is done with the plugin's density unless the user says otherwise."""
    return plugin.treatment_inside_refinement if inside_refinement else plugin.treatment


def treat(
    regularized: Regularized, half_map: HalfMap, context: Context, treatment: Treatment
) -> tuple[FloatArray, dict[str, Any], FloatArray | None]:
    """Return the density as it is to be checked and handed on, and what was done, for the record.

    Third comes the mask outside of which the solvent was flattened, None if it was kept.

    Raises
    ------
    RegularizerError : a blend by confidence of a regularizer that tells no error.
    """
    fsc = context.half_map_fsc if regularized.half_map_fsc is None else regularized.half_map_fsc
    symmetry: dict[str, Any] = {}
    if treatment.symmetry == "average":
        density, symmetry["symmetry"] = averaged(
            regularized.density, half_map.density, context.point_group, context.compute
        )
        regularized = replace(regularized, density=density)
    density, told = _mixed(regularized, half_map, fsc, treatment.blend, context.compute)
    told |= symmetry
    flat, mask = treatment.solvent == "flatten", None
    if flat:
        mask, origin = _mask(regularized, half_map, context)
        density = flattened(density, mask)
        told |= {"mask": origin, "mask_share": round(float(mask.mean()), 5)}
    told["solvent"] = "flattened" if flat else "kept"
    if treatment.beyond == "half-map" and fsc is not None:
        # Last, because the mask too carries what both halves share to finer shells.
        last = last_agreed_shell(fsc)
        density = held_to_agreement(density, None if flat else half_map.density, last, context.compute)
        told["last_agreed_shell"] = last
    return density, told, mask


def _mixed(
    regularized: Regularized, half_map: HalfMap, fsc: Curve | None, blend: str, compute: Compute
) -> tuple[FloatArray, dict[str, Any]]:
    """Return the density mixed with the half-map, and what to tell."""
    told: dict[str, Any] = {"blend": blend}
    if blend == "none":
        return regularized.density, told
    shells = half_map.box // 2 + 1
    share = {"fsc": weights_from_fsc(fsc, shells), "half": np.full(shells, 0.5)}.get(blend, np.ones(shells))
    if blend == "fsc":
        told["weights"] = [round(float(weight), 4) for weight in share]
    mixed: FloatArray = blended(regularized.density, half_map.density, share, compute)
    if blend == "confidence":
        confidence = regularized.confidence()
        if confidence is None:
            raise RegularizerError("blend=confidence: the regularizer does not tell how much it errs.")
        mixed = half_map.density + confidence * (mixed - half_map.density)
    return mixed, told


def _mask(regularized: Regularized, half_map: HalfMap, context: Context) -> tuple[FloatArray, str]:
    """Return the mask outside of which the solvent is flattened, and where it came from."""
    if regularized.mask is not None:
        return regularized.mask, "the regularizer's"
    if context.mask is not None:
        return context.mask, "the call's"
    seen = half_map.with_density(regularized.density)
    return particle_mask(seen, context.particle_diameter_angstrom), "made from the regularizer's density"


def weights_from_fsc(half_map_fsc: Curve | None, count: int) -> Curve:
    """Return the regularized map's weight in each shell: 1 − FSC, the share of noise in the half-maps.

    Without an FSC, or with one that is 0 throughout as in 3D classification, the weight is a half everywhere.

    Parameters
    ----------
    half_map_fsc : (count,) array, or None
    count : number of shells
    """
    if half_map_fsc is None or not np.any(half_map_fsc[1:] > 0):
        return np.full(count, _WITHOUT_FSC)
    weights: Curve = 1.0 - np.clip(half_map_fsc, 0.0, 1.0)
    return weights


def blended(
    regularized: FloatArray, plain: FloatArray, weights: Curve, compute: Compute
) -> npt.NDArray[np.float32]:
    """Return (1 − w) plain + w s regularized in each Fourier shell, s regularized being nearest to the plain map.

    Parameters
    ----------
    regularized, plain : (n, n, n) arrays, axes z, y, x
    weights : (n // 2 + 1,) array, w of each shell
    compute : where to work
    """
    shells = Shells(len(plain), compute)
    ours, theirs = shells.spectrum(regularized), shells.spectrum(plain)
    ours_power = power(ours, shells)
    scale = np.divide(
        correlation(ours, theirs, shells), ours_power, out=np.zeros(shells.count), where=ours_power > 0
    )
    shells.scale(ours, weights * np.maximum(scale, 0.0))
    shells.scale(theirs, 1.0 - weights)
    ours += theirs
    return shells.density(ours)


def flattened(density: FloatArray, mask: FloatArray) -> FloatArray:
    """Return the map with its solvent at the solvent's mean.

    Parameters
    ----------
    density : (n, n, n) array, axes z, y, x
    mask : (n, n, n) array, 0 in the solvent and 1 in the particle, soft between
    """
    solvent = density[mask < _SOLVENT]
    level = solvent.mean(dtype=np.float64) if solvent.size else 0.0
    flat: FloatArray = (level + (density - level) * mask).astype(density.dtype, copy=False)
    return flat


def last_agreed_shell(half_map_fsc: Curve) -> int:
    """Return the last shell before the half-map FSC, (n // 2 + 1,), first falls to what chance brings.

    Shell k holds about 2πk² independent coefficients, so noise alone has an FSC with a standard deviation of
    1 / √(4πk²); twice that, or 0.02 where that is more, counts as chance.
    """
    k = np.maximum(np.arange(half_map_fsc.size), 1)
    return last_shell_above(half_map_fsc, np.maximum(LEAST_AGREEMENT, 2.0 / np.sqrt(4.0 * np.pi * k**2)))


def held_to_agreement(
    denoised: FloatArray, plain: FloatArray | None, last: int, compute: Compute
) -> npt.NDArray[np.float32]:
    """Return the denoised map up to shell ``last`` and the half-map's coefficients beyond.

    Parameters
    ----------
    denoised : (n, n, n) array, axes z, y, x
    plain : the half-map on the same scale; None for nothing beyond
    last : shell; the two after it lead over from one map to the other, but nothing stands beyond if nothing may
    compute : where to work
    """
    shells = Shells(len(denoised), compute)
    spectrum = shells.spectrum(denoised)
    # With nothing beyond, the edge lies within the agreement, unless that reaches to Nyquist.
    first = last - 1 if plain is None and last < shells.count - 1 else last
    network = soft_step(shells.count, first, EDGE_SHELLS)
    if plain is None:
        shells.scale(spectrum, network)
        return shells.density(spectrum)
    data = shells.spectrum(plain)
    ours, theirs = power(spectrum, shells), power(data, shells)
    gain = np.sqrt(np.divide(ours, theirs, out=np.zeros(shells.count), where=theirs > 0))
    gain = np.minimum(scipy.ndimage.uniform_filter1d(gain, _SMOOTHED_OVER_SHELLS, mode="nearest"), 1.0)
    shells.scale(spectrum, network)
    shells.scale(data, gain * (1.0 - network))
    spectrum += data
    return shells.density(spectrum)
