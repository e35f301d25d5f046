"""The electron-scattering map of an atomic model, on a given grid."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from extrecon.atoms.scattering import read_structure, scattering_map
from extrecon.errors import InputError, RegularizerError
from extrecon.maps import HalfMap


def model_map(path: Path, half_map: HalfMap) -> npt.NDArray[np.float32]:
    """Return the electron-scattering map of a PDB or mmCIF file up to Nyquist, with its B factors, (n, n, n).

    The model stands in the map's frame: x = origin + (start + index) × pixel size, as the MRC header has it. The
    scattering factors are those of the International Tables C 4.3.2.2 (five Gaussians), as gemmi has them.

    Raises
    ------
    RegularizerError : the file is no model, or none of its atoms lies in the map.
    """
    try:
        model = read_structure(path)
    except InputError as error:
        raise RegularizerError(str(error)) from error
    box, pixel = half_map.box, half_map.pixel_size_angstrom
    edge = box * pixel
    origin = np.array(half_map.origin_angstrom) + pixel * np.array(half_map.start_voxel)
    model.cell = gemmi.UnitCell(edge, edge, edge, 90, 90, 90)
    model.spacegroup_hm = "P 1"
    model[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(*(-origin).tolist())))
    places = np.array([site.atom.pos.tolist() for site in model[0].all()])
    within = ((places >= 0) & (places < edge)).all(axis=1)
    if not within.any():
        low, high = places.min(axis=0) + origin, places.max(axis=0) + origin
        raise RegularizerError(
            f"{path}: no atom lies in the map, which covers {_span(origin, origin + edge)}; the atoms cover "
            f"{_span(low, high)}. Fit the model into the map first."
        )
    return scattering_map(model, box, pixel).astype(np.float32)


def _span(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{axis} {a:.0f} to {b:.0f}" for axis, a, b in zip("xyz", low, high, strict=True)) + " Å"
