"""The reference of profile scaling: a map, or an atomic model made into one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from extrecon.errors import RegularizerError
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.maps.mrc import read_companion
from extrecon_regularizers.profile.model_map import model_map


def reference_density(map_path: str, model_path: str, half_map: HalfMap) -> tuple[FloatArray, str, list[str]]:
    """Return the reference on the half-map's grid, what it is, and what was odd about it.

    Parameters
    ----------
    map_path, model_path : one of them, the other empty
    half_map : the grid

    Raises
    ------
    RegularizerError : both are given, or the reference does not fit the half-map.
    """
    if map_path and model_path:
        raise RegularizerError("Give a reference map or a model, not both.")
    if model_path:
        return model_map(Path(model_path), half_map), f"model {model_path}", []
    reference = read_companion(Path(map_path), half_map.pixel_size_angstrom, "the map")
    if reference.box != half_map.box:
        raise RegularizerError(
            f"The reference {map_path} is {reference.box}³ voxels, but the map is {half_map.box}³; "
            "put it on the map's grid."
        )
    if not np.ptp(reference.density) > 0:
        raise RegularizerError(f"The reference {map_path} is constant.")
    return reference.density, f"map {map_path}", list(reference.notes)
