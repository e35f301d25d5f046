"""The CNN denoiser as a regularizer."""

from __future__ import annotations

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
from extrecon.regularizer import Context, Regularized, Regularizer, Treatment
from extrecon.settings import setting
from extrecon_regularizers.cnn import weights
from extrecon_regularizers.cnn.apply import apply_in_turns
from extrecon_regularizers.cnn.reach import REACH, held_to_reach
from extrecon_regularizers.cnn.resample import resampled
from extrecon_regularizers.cnn.standardise import LARGEST_TILE, Curve, resolution, signal_share, standardise
from extrecon_regularizers.networks.engine import Network
from extrecon_regularizers.networks.runtime import onnx_runtime
from extrecon_regularizers.networks.weights import PACKAGES

_LEAST_SOLVENT = 0.05
_OUTSIDE = 0.5
_FEWEST_SHELLS = 3
_FEWEST_ELEMENTS = 5.0  # resolutions that fit along the box; with fewer, maps look like none of the training
_KNOWN_VOXELS_ANGSTROM = (0.9, 6.0)
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

    density: FloatArray
    expected_error: npt.NDArray[np.float32]
    facts: dict[str, Any]


@dataclass(frozen=True)
class CnnSettings:
    """What users may choose."""

    weights: str = setting("", "A safetensors file of one's own; empty for the weights that are shipped.")
    directions: int = setting(
        1,
        "In how many directions the network is shown the map; its answers are averaged. The time grows with it.",
        minimum=1,
        maximum=24,
    )


class Cnn(Regularizer[CnnSettings]):
    """A residual 3D U-Net that has seen simulated half-maps of many real structures."""

    name: ClassVar[str] = "cnn"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Denoises with a 3D U-Net trained on simulated half-maps of real structures"
    settings_type: ClassVar[type[Any]] = CnnSettings
    needs_packages: ClassVar[Mapping[str, str]] = PACKAGES
    treatment: ClassVar[Treatment] = Treatment(blend="all", beyond="half-map")
    treatment_inside_refinement: ClassVar[Treatment] = Treatment(
        "all", "flatten", "half-map", amplitudes="other-half"
    )

    def __init__(self) -> None:
        self._loaded: dict[str, Network] = {}

    def check(self, settings: CnnSettings) -> None:
        """Refuse weights of the user's own that cannot be used; the shipped ones are looked at when read."""
        if settings.weights:
            weights.load(settings.weights)

    def prepare(self, settings: CnnSettings) -> Sequence[Path]:
        """Import what runs the network and read the weights, and return their file."""
        onnx_runtime()
        self._loaded[settings.weights] = network = weights.load(settings.weights)
        return (network.weights.path,)

    def memory_bytes(self, box: int) -> int:
        """Return what was measured, rounded up: ONNX Runtime, a tile in the network, and the map."""
        return 40_000_000 + 110 * min(box, LARGEST_TILE) ** 3 + 55 * box**3

    def card(self) -> str:
        """Return the shipped weights' card."""
        return weights.card()

    def regularize(self, half_map: HalfMap, context: Context[CnnSettings]) -> Regularized:
        """Return what the network makes of ``half_map``, in the network's unit, and its expected error.

        Raises
        ------
        RegularizerError : weights that cannot be used, or a map without signal.
        """
        fsc, origin = _known_fsc(half_map, context)
        own = context.settings.weights
        network = self._loaded.get(own) or weights.load(own)
        denoised = denoise(half_map, fsc, network, context)
        file = network.weights
        facts = denoised.facts | {"weights": str(file.path), "weights_sha256": file.sha256, "fsc": origin}
        warnings = _unlike_any_tried(half_map)
        if origin == _WITHOUT_FSC:
            warnings += _masked(half_map)
        return Regularized(
            denoised.density,
            facts,
            warnings=warnings,
            expected_error=denoised.expected_error,
            half_map_fsc=fsc,
        )


def _unlike_any_tried(half_map: HalfMap) -> list[str]:
    """Warn of voxels of a size on which nobody has measured what the network does."""
    finest, coarsest = _KNOWN_VOXELS_ANGSTROM
    size = half_map.pixel_size_angstrom
    if finest <= size <= coarsest:
        return []
    return [f"the network was tried on voxels of {finest} to {coarsest} Å; these have {size:.3g} Å"]


def _masked(half_map: HalfMap) -> list[str]:
    """Warn of a map whose resolution should be told from the noise around the particle, where there is none."""
    mask = particle_mask(HalfMap(half_map.density, half_map.pixel_size_angstrom))
    around = (mask < _OUTSIDE) & inscribed_sphere(half_map.box)
    told = masked_map_sentence(half_map.density, around)
    return [told] if told else []


def denoise(half_map: HalfMap, fsc: Curve, network: Network, context: Context) -> Denoised:
    """Return what the network makes of a half-map with a known FSC, (n // 2 + 1,)."""
    compute, threads = context.compute, context.compute.threads
    finest = resolution(fsc, half_map.box, half_map.pixel_size_angstrom)
    edge = half_map.box * half_map.pixel_size_angstrom
    if edge / finest < _FEWEST_ELEMENTS - 0.01:
        raise RegularizerError(
            f"The box of {edge:.0f} Å is only {edge / finest:.1f} times the resolution of {finest:.1f} Å; "
            f"the network needs {_FEWEST_ELEMENTS:.0f}."
        )
    context.progress("standardise", 0.0)
    standard = standardise(half_map.density, fsc, half_map.pixel_size_angstrom, compute, threads)
    density, error = apply_in_turns(
        network,
        standard.inputs,
        standard.condition,
        compute,
        context.progress,
        directions=context.settings.directions,
    )
    told: FloatArray = resampled(density, half_map.box, threads)
    facts = {"resolution_angstrom": round(finest, 3), "working_box": len(density)}
    # Inside refinement the mask that flattens the solvent would carry the half-map's own noise to finer shells.
    if not context.inside_refinement:
        last = int(REACH * edge / finest)
        told, is_held = held_to_reach(told, half_map.density, last, compute)
        facts |= {"last_shell": last} if is_held else {}
    return Denoised(told, np.maximum(resampled(error, half_map.box, threads), 0.0), facts)


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
