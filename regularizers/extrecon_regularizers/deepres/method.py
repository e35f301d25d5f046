"""DeepRes as a local-resolution method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from extrecon.errors import RegularizerError
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.regularizer import Context, LocalResolution, LocalResolutionMethod
from extrecon.settings import setting
from extrecon_regularizers.cnn.resample import resampled
from extrecon_regularizers.deepres import weights
from extrecon_regularizers.deepres.apply import COARSEST, apply_network
from extrecon_regularizers.deepres.windows import Inputs, look_at
from extrecon_regularizers.grids import check_mask, check_other_half
from extrecon_regularizers.networks.weights import PACKAGES

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

COARSE_VOXEL_ANGSTROM, FINE_VOXEL_ANGSTROM = 1.0, 0.5
_FINE_BELOW_ANGSTROM = 3.0
"""A map whose median is better than this on voxels of 1 Å is looked at on those of 0.5 Å, which reach 1.5 Å."""

_RANGES_ANGSTROM = {COARSE_VOXEL_ANGSTROM: (2.5, 13.0), FINE_VOXEL_ANGSTROM: (1.5, 6.0)}
COARSEST_NYQUIST_ANGSTROM = 8.0
"""Where voxels are coarser, nearly all that it could tell is beyond what it knows."""

_INSIDE = 0.5
_AROUND = 16
_MOST_AT_THE_END = 0.25


@dataclass(frozen=True)
class Looked:
    """Local resolution and its expected error, Å, on the map's grid, 0 outside the mask; the network's voxel."""

    resolution_angstrom: Array
    error_angstrom: Array
    voxel_angstrom: float


@dataclass(frozen=True)
class DeepResSettings:
    """What users may choose."""

    voxel: str = setting(
        "auto",
        "Edge of the voxels looked at, Å: 1.0 tells 2.5 to 13 Å, 0.5 tells 1.5 to 6 Å; auto: 1.0, and 0.5 if "
        "the median is then under 3 Å and the map's own voxels are fine enough.",
        choices=("auto", "1.0", "0.5"),
    )
    weights: str = setting("", "A safetensors file of one's own; empty for the weights that are shipped.")


class DeepRes(LocalResolutionMethod[DeepResSettings]):
    """What resolution a region looks like (Ramírez-Aportela et al. 2019), of one map or of the mean of two halves.

    It sees sharpening and blurring, and needs no noise to compare with: maps may be masked or filtered.
    """

    name: ClassVar[str] = "deepres"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "The resolution that each region looks like, told by a 3D network (DeepRes)"
    settings_type: ClassVar[type[Any]] = DeepResSettings
    needs_packages: ClassVar[Mapping[str, str]] = PACKAGES

    def estimate(self, half_map: HalfMap, context: Context[DeepResSettings]) -> LocalResolution:
        """Return the resolution that ``half_map`` looks like, or the mean of it and ``context.other_half``.

        Raises
        ------
        RegularizerError : no mask, boxes that differ, coarse voxels, an empty map, or weights that cannot be used.
        """
        if half_map.nyquist_angstrom > COARSEST_NYQUIST_ANGSTROM:
            raise RegularizerError(
                f"Voxels of {half_map.pixel_size_angstrom:.3g} Å show nothing finer than "
                f"{half_map.nyquist_angstrom:.1f} Å; DeepRes knows 2.5 to 13 Å and needs voxels of "
                f"{COARSEST_NYQUIST_ANGSTROM / 2:g} Å or finer."
            )
        mask = _inside(half_map, context)
        volume = _mean(half_map, context.other_half)
        if not np.ptp(volume) > 0:
            raise RegularizerError("The map is constant: there is nothing to tell a resolution from.")
        loaded = weights.load(context.settings.weights)
        whole = half_map.with_density(volume)
        wanted = context.settings.voxel
        looked = look(whole, mask, 1.0 if wanted == "auto" else float(wanted), loaded, context)
        median = float(np.median(looked.resolution_angstrom[mask]))
        is_fine = half_map.pixel_size_angstrom < COARSE_VOXEL_ANGSTROM * 1.1
        if wanted == "auto" and median < _FINE_BELOW_ANGSTROM and is_fine:
            looked = look(whole, mask, FINE_VOXEL_ANGSTROM, loaded, context)
        maps = {"local_resolution_error": looked.error_angstrom}
        facts = {**_facts(looked, mask), "weights_sha256": loaded.network.weights.sha256}
        return LocalResolution(looked.resolution_angstrom, facts, maps, _warnings(looked, mask))


def look(
    half_map: HalfMap, mask: Mask, voxel_angstrom: float, loaded: weights.Loaded, context: Context[DeepResSettings]
) -> Looked:
    """Return what the network tells on voxels of 1.0 or 0.5 Å, brought back to the map's own grid.

    Parameters
    ----------
    half_map : the map
    mask : (n, n, n) where to tell
    voxel_angstrom : 1.0 or 0.5
    loaded : the network
    context : device, threads and progress
    """
    threads = context.compute.threads
    edge = half_map.box * half_map.pixel_size_angstrom
    box = max(2 * round(edge / voxel_angstrom / 2), 2 * COARSEST)
    voxel = edge / box  # within one voxel's share of the box of what the network knows
    inputs = look_at(resampled(half_map.density, box, threads), threads)
    scale = half_map.pixel_size_angstrom / voxel
    begins, inner = _bounds(mask, scale, half_map.box, box)
    inputs = _cut(inputs, begins, inner)
    told = apply_network(loaded, inputs, voxel_angstrom, context.compute, context.progress)
    # Voxel j of the map lies at box // 2 + scale (j - n // 2) of the network's grid; blocks of 2³ begin there.
    offset = (box // 2 - scale * (half_map.box // 2) - np.array(begins) - 0.5) / 2
    resolution, error = (_brought_back(values * voxel, scale / 2, offset, mask) for values in told)
    return Looked(resolution, error, voxel_angstrom)


def _brought_back(values: Array, step: float, offset: npt.NDArray[np.float64], mask: Mask) -> Array:
    """Return values on the mask's grid, interpolated between the network's blocks, 0 outside the mask."""
    places = np.argwhere(mask)
    out = np.zeros(mask.shape, dtype=np.float32)
    coordinates = (places * step + offset).T
    out[mask] = scipy.ndimage.map_coordinates(values, coordinates, order=1, mode="nearest")
    return out


def _bounds(mask: Mask, scale: float, n: int, box: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return first voxels and edges, multiples of 4, of what holds the mask and some voxels around it."""
    begins, edges = [], []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        low, high = (box // 2 + scale * (end - n // 2) for end in (used[0], used[-1]))
        first = max(int(low) - _AROUND, 0) // 2 * 2
        length = min(int(high) + 2 + _AROUND, box) - first
        begins.append(first)
        edges.append(-(-length // COARSEST) * COARSEST)
    return tuple(begins), tuple(edges)


def _cut(inputs: Inputs, begins: tuple[int, ...], edges: tuple[int, ...]) -> Inputs:
    """Return the part that begins there; what lies beyond the box repeats its last voxels."""
    return Inputs(_part(inputs.windows, begins, edges, 1), _part(inputs.bands, begins, edges, 2))


def _part(values: Array, begins: tuple[int, ...], edges: tuple[int, ...], block: int) -> Array:
    within, missing = [], []
    for begin, edge, full in zip(begins, edges, values.shape[1:], strict=True):
        first, end = begin // block, min((begin + edge) // block, full)
        within.append(slice(first, end))
        missing.append((0, edge // block - (end - first)))
    return np.pad(values[(slice(None), *within)], [(0, 0), *missing], mode="edge")


def _inside(half_map: HalfMap, context: Context[DeepResSettings]) -> Mask:
    if context.mask is None:
        raise RegularizerError("DeepRes needs a mask: it tells nothing of the solvent; give one with --mask.")
    check_mask(context.mask, half_map)
    inside: Mask = np.asarray(context.mask) > _INSIDE
    if not inside.any():
        raise RegularizerError(f"No voxel of the mask is above {_INSIDE}: there is nothing to tell.")
    return inside


def _mean(half_map: HalfMap, other: HalfMap | None) -> FloatArray:
    if other is None:
        return half_map.density
    check_other_half(half_map, other)
    return np.asarray((half_map.density.astype(np.float32) + other.density) / 2, dtype=np.float32)


def _facts(looked: Looked, mask: Mask) -> dict[str, Any]:
    inside = looked.resolution_angstrom[mask]
    return {
        "quartiles_angstrom": [round(float(q), 3) for q in np.percentile(inside, [25, 50, 75])],
        "percentile_20_angstrom": round(float(np.percentile(inside, 20)), 3),
        "median_error_angstrom": round(float(np.median(looked.error_angstrom[mask])), 3),
        "voxel_angstrom": looked.voxel_angstrom,
    }


def _warnings(looked: Looked, mask: Mask) -> list[str]:
    low, high = _RANGES_ANGSTROM[looked.voxel_angstrom]
    inside = looked.resolution_angstrom[mask]
    found = []
    for share, word, edge in (
        (float((inside < low).mean()), "finer", low),
        (float((inside > high).mean()), "coarser", high),
    ):
        if share > _MOST_AT_THE_END:
            found.append(
                f"{share:.0%} of the particle looks {word} than {edge:g} Å, where DeepRes knows nothing on voxels "
                f"of {looked.voxel_angstrom:g} Å."
            )
    return found
