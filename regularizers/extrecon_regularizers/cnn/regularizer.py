"""The CNN denoiser as a regularizer."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError
from extrecon.fourier.masks import particle_mask, radius_px
from extrecon.fourier.resolution import cutoff_shell
from extrecon.fourier.shells import Shells, power
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.maps.solvent import inscribed_sphere, masked_map_sentence
from extrecon.regularizer import Context, Parameter, Regularized, Regularizer, Setting
from extrecon_regularizers.blend import blended, flattened
from extrecon_regularizers.cnn import weights
from extrecon_regularizers.cnn.beyond import held_to_agreement, last_agreed_shell
from extrecon_regularizers.cnn.resample import resampled
from extrecon_regularizers.cnn.standardise import Curve, resolution, signal_share, standardise

_LEAST_SOLVENT = 0.05
_OUTSIDE = 0.5
_FEWEST_SHELLS = 3
_TRAINED_VOXELS_ANGSTROM = (0.9, 4.2)
_WITHOUT_FSC = "estimated from the solvent"


@dataclass(frozen=True)
class Denoised:
    """What the network made of a half-map, on the half-map's own grid and in the network's units.

    Attributes
    ----------
    density : (n, n, n) standardised density
    expected_error : (n, n, n) expected absolute error of the density, the same units
    facts : for the record
    """

    density: npt.NDArray[np.float32]
    expected_error: npt.NDArray[np.float32]
    facts: dict[str, Any]


class Cnn(Regularizer):
    """A residual 3D U-Net that has seen simulated half-maps of many real structures."""

    name: ClassVar[str] = "cnn"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Denoises with a 3D U-Net trained on simulated half-maps of real structures"
    parameters: ClassVar[Sequence[Parameter]] = (
        Parameter("weights", "", "A safetensors file of one's own; empty for the weights that are shipped."),
        Parameter(
            "blend",
            "all",
            "The network's part: all, half, 1 - FSC of each shell (fsc), or its confidence in each voxel.",
            choices=("all", "fsc", "half", "confidence"),
        ),
        Parameter(
            "solvent",
            "auto",
            "flatten what the network sees no particle in, or keep it; auto: flatten inside refinement.",
            choices=("auto", "flatten", "keep"),
        ),
    )

    def __init__(self) -> None:
        self._shipped: weights.Loaded | None = None

    def check(self, settings: Mapping[str, Setting]) -> None:
        """Refuse weights of the user's own that cannot be used; the shipped ones are not worth importing torch."""
        if settings["weights"]:
            weights.load(str(settings["weights"]))

    def prepare(self) -> Sequence[Path]:
        """Import torch and load the shipped weights, and return their file."""
        importlib.import_module("extrecon_regularizers.cnn.apply")
        self._shipped = weights.load()
        return (self._shipped.path,)

    def card(self) -> str:
        """Return the shipped weights' card."""
        return weights.card()

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        """Return ``half_map`` denoised, and how much each voxel can be trusted (0 to 1).

        Raises
        ------
        RegularizerError : weights that cannot be used, or a map without signal.
        """
        fsc, origin = _known_fsc(half_map, context)
        own = str(context.settings["weights"])
        loaded = weights.load(own) if own or self._shipped is None else self._shipped
        denoised = denoise(half_map, fsc, loaded, context)
        facts = denoised.facts | {"weights": str(loaded.path), "weights_sha256": loaded.sha256, "fsc": origin}
        confidence = trust(denoised.density, denoised.expected_error)
        density, done = _finished(denoised.density, confidence, half_map, fsc, context)
        warnings = _beyond_training(half_map)
        if origin == _WITHOUT_FSC:
            warnings += _masked(half_map)
        return Regularized(density, facts | done, {"confidence": confidence}, warnings)


def _beyond_training(half_map: HalfMap) -> list[str]:
    """Warn of voxels of a size that the network has never seen."""
    finest, coarsest = _TRAINED_VOXELS_ANGSTROM
    size = half_map.pixel_size_angstrom
    if finest <= size <= coarsest:
        return []
    return [f"the network was trained on voxels of {finest} to {coarsest} Å; these have {size:.3g} Å"]


def _masked(half_map: HalfMap) -> list[str]:
    """Warn of a map whose resolution should be told from the noise around the particle, where there is none."""
    mask = particle_mask(HalfMap(half_map.density, half_map.pixel_size_angstrom))
    around = (mask < _OUTSIDE) & inscribed_sphere(half_map.box)
    told = masked_map_sentence(half_map.density, around)
    return [told] if told else []


def denoise(half_map: HalfMap, fsc: Curve, loaded: weights.Loaded, context: Context) -> Denoised:
    """Return what the network makes of a half-map with a known FSC, (n // 2 + 1,)."""
    from extrecon_regularizers.cnn.apply import apply_network

    compute, threads = context.compute, context.compute.threads
    context.progress("standardise", 0.0)
    standard = standardise(half_map.density, fsc, half_map.pixel_size_angstrom, compute, threads)
    density, error = apply_network(loaded.network, standard.inputs, standard.condition, compute, context.progress)
    facts = {
        "resolution_angstrom": round(resolution(fsc, half_map.box, half_map.pixel_size_angstrom), 3),
        "working_box": len(density),
    }
    return Denoised(
        resampled(density, half_map.box, threads), np.maximum(resampled(error, half_map.box, threads), 0.0), facts
    )


def trust(density: FloatArray, expected_error: FloatArray) -> npt.NDArray[np.float32]:
    """Return ρ² / (ρ² + ε²) of the network's density ρ and its expected error ε: 0 for none, 1 for full trust."""
    square, error = np.square(density), np.square(expected_error)
    found: npt.NDArray[np.float32] = (square / np.maximum(square + error, 1e-12)).astype(np.float32)
    return found


def _finished(
    density: npt.NDArray[np.float32], confidence: FloatArray, half_map: HalfMap, fsc: Curve, context: Context
) -> tuple[FloatArray, dict[str, Any]]:
    """Blend the network's density with the half-map on its scale, flatten the solvent; say what was done.

    Beyond the halves' agreement the half-map's own coefficients stand, or nothing in a flattened map.
    """
    inside = context.inside_refinement
    blend = str(context.settings["blend"])
    share = {"half": np.full(len(fsc), 0.5), "fsc": 1.0 - np.clip(fsc, 0.0, 1.0)}.get(blend, np.ones(len(fsc)))
    mixed: FloatArray = blended(density, half_map.density, share, context.compute)
    if blend == "confidence":
        mixed = half_map.density + confidence * (mixed - half_map.density)
    last = last_agreed_shell(fsc)
    facts: dict[str, Any] = {"blend": blend, "network_to_shell": last, "solvent": "kept"}
    solvent = str(context.settings["solvent"])
    if solvent == "flatten" or (solvent == "auto" and inside):
        seen = HalfMap(density, half_map.pixel_size_angstrom)
        mask = particle_mask(seen, context.particle_diameter_angstrom)
        mixed = flattened(mixed, mask)
        facts |= {"solvent": "flattened", "mask_share": round(float(mask.mean()), 5)}
    # Last, because the mask too carries what both halves share to finer shells.
    beyond = half_map.density if facts["solvent"] == "kept" else None
    return held_to_agreement(mixed, beyond, last, context.compute), facts


def _known_fsc(half_map: HalfMap, context: Context) -> tuple[Curve, str]:
    """Return the half-map FSC, or the share of signal that the noise around the particle suggests."""
    fsc, origin = context.half_map_fsc, "given"
    if fsc is None or not np.any(fsc[1:] > 0):
        fsc, origin = share_of_signal(half_map, context), _WITHOUT_FSC
    last = cutoff_shell(fsc)
    if last < _FEWEST_SHELLS:
        raise RegularizerError(
            f"Only {last} Fourier shells hold signal (FSC {origin}); the network needs {_FEWEST_SHELLS}."
        )
    return fsc, origin


def share_of_signal(half_map: HalfMap, context: Context) -> Curve:
    """Return each shell's share of signal if what lies around the particle is noise, (n // 2 + 1,).

    Beyond the first shell whose share is under 1/7 it is 0.
    """
    n = half_map.box
    density = half_map.density - np.float32(np.median(half_map.density))
    limit = 0.5 * n
    if context.particle_diameter_angstrom is not None:
        limit = min(limit, 0.5 * context.particle_diameter_angstrom / half_map.pixel_size_angstrom)
    mask = particle_mask(HalfMap(density, half_map.pixel_size_angstrom), context.particle_diameter_angstrom)
    sphere = (radius_px(n) < limit).astype(np.float32)
    around = (1.0 - mask) * sphere
    portion = float(np.square(around).mean())
    if portion < _LEAST_SOLVENT:
        return np.ones(n // 2 + 1)
    shells = Shells(n, context.compute)
    noise = power(shells.spectrum(density * around), shells) * float(sphere.mean()) / portion
    whole = power(shells.spectrum(density * sphere), shells)
    share = 1.0 - np.divide(noise, whole, out=np.ones(shells.count), where=whole > 0)
    share = signal_share(np.clip(share, 0.0, 1.0))
    share[cutoff_shell(share) + 1 :] = 0.0
    return share
