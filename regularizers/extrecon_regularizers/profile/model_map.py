"""The electron-scattering map of an atomic model, on a given grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.atoms.frame import place_in_map
from extrecon.atoms.scattering import read_structure, scattering_map
from extrecon.errors import InputError, RegularizerError
from extrecon.maps import HalfMap


def model_map(path: Path, half_map: HalfMap) -> npt.NDArray[np.float32]:
    """Return the electron-scattering map of a PDB or mmCIF file up to Nyquist, with its B factors, (n, n, n).

    The model stands in the map's frame, as `place_in_map` has it. The scattering factors are those of the
    International Tables C 4.3.2.2 (five Gaussians), as gemmi has them.

    Raises
    ------
    RegularizerError : the file is no model, or none of its atoms lies in the map.
    """
    try:
        model = read_structure(path)
        place_in_map(model, half_map, str(path))
    except InputError as error:
        raise RegularizerError(str(error)) from error
    return scattering_map(model, half_map.box, half_map.pixel_size_angstrom).astype(np.float32)
