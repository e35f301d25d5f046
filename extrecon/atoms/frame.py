"""Where an atomic model stands in a map."""

from __future__ import annotations

import gemmi
import numpy as np
import numpy.typing as npt

from extrecon.atoms.scattering import atom_places
from extrecon.errors import InputError
from extrecon.maps import HalfMap


def corner_angstrom(half_map: HalfMap) -> npt.NDArray[np.float64]:
    """Return where a map's first voxel lies, x, y, z, Å: origin + start × pixel size, by the MRC header."""
    start: npt.NDArray[np.float64] = half_map.pixel_size_angstrom * np.array(half_map.start_voxel, dtype=np.float64)
    return np.array(half_map.origin_angstrom, dtype=np.float64) + start


def place_in_map(found: gemmi.Structure, half_map: HalfMap, name: str) -> None:
    """Move a model that stands in a map's frame so that the map's first voxel is at 0, and give it the map's cell.

    Parameters
    ----------
    name : of the model, for sentences

    Raises
    ------
    InputError : none of its atoms lies in the map.
    """
    corner, edge = corner_angstrom(half_map), half_map.box * half_map.pixel_size_angstrom
    found.cell = gemmi.UnitCell(edge, edge, edge, 90, 90, 90)
    found.spacegroup_hm = "P 1"
    found[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(*(-corner).tolist())))
    places = atom_places(found)
    if not ((places >= 0) & (places < edge)).all(axis=1).any():
        low, high = places.min(axis=0) + corner, places.max(axis=0) + corner
        raise InputError(
            f"{name}: no atom lies in the map, which covers {_span(corner, corner + edge)}; the atoms cover "
            f"{_span(low, high)}. Fit the model into the map first."
        )


def _span(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{axis} {a:.0f} to {b:.0f}" for axis, a, b in zip("xyz", low, high, strict=True)) + " Å"
