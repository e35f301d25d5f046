"""That what a plugin is handed beside a map lies on the map's grid."""

from __future__ import annotations

from extrecon.errors import RegularizerError
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray


def check_mask(mask: FloatArray, half_map: HalfMap) -> None:
    """Refuse a mask of another box, with RegularizerError."""
    if mask.shape != half_map.density.shape:
        theirs, ours = _sizes(mask, half_map.density)
        raise RegularizerError(f"The mask is {theirs} voxels, but the map is {ours}; make it on the map's grid.")


def check_other_half(half_map: HalfMap, other: HalfMap) -> None:
    """Refuse two half-maps of different boxes, with RegularizerError."""
    if other.density.shape != half_map.density.shape:
        first, second = _sizes(half_map.density, other.density)
        raise RegularizerError(f"half1 is {first} voxels, but half2 is {second}; both must be on one grid.")


def _sizes(*arrays: FloatArray) -> list[str]:
    return ["×".join(map(str, array.shape)) for array in arrays]
