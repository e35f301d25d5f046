"""The electron-scattering map of an atomic model, on a given grid."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt
import scipy.fft

from extrecon.errors import RegularizerError
from extrecon.maps import HalfMap

_FINER = 2
"""The atoms are laid on a grid so much finer, which needs less blur."""


def model_map(path: Path, half_map: HalfMap) -> npt.NDArray[np.float32]:
    """Return the electron-scattering map of a PDB or mmCIF file up to Nyquist, with its B factors, (n, n, n).

    The model stands in the map's frame: x = origin + (start + index) × pixel size, as the MRC header has it. The
    scattering factors are those of the International Tables C 4.3.2.2 (five Gaussians), as gemmi has them.

    Raises
    ------
    RegularizerError : the file is no model, or none of its atoms lies in the map.
    """
    model = _read(path)
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
    return _scattering(model, box, pixel)


def _read(path: Path) -> gemmi.Structure:
    try:
        found = gemmi.read_structure(str(path))
        found.setup_entities()
        found.remove_waters()
    except (OSError, RuntimeError, ValueError) as error:
        raise RegularizerError(f"{path}: cannot be read as a model: {error}") from None
    if len(found) == 0 or found[0].count_atom_sites() == 0:
        raise RegularizerError(f"{path}: holds no atom; give a PDB or mmCIF file.")
    return found


def _span(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{axis} {a:.0f} to {b:.0f}" for axis, a, b in zip("xyz", low, high, strict=True)) + " Å"


def _scattering(model: gemmi.Structure, box: int, pixel: float) -> npt.NDArray[np.float32]:
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min, calculator.rate = 2 * pixel / _FINER, 1.0
    calculator.grid.setup_from(model)
    fine = box * _FINER
    calculator.grid.set_size(fine, fine, fine)
    calculator.set_refmac_compatible_blur(model[0])
    calculator.put_model_density_on_grid(model[0])
    laid = np.asarray(calculator.grid.array, dtype=np.float32).transpose(2, 1, 0)
    spectrum = scipy.fft.rfftn(laid, workers=-1)
    kept = _low_frequencies(spectrum, box) / np.float32(_FINER**3)
    axis = scipy.fft.fftfreq(box, pixel)
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + scipy.fft.rfftfreq(box, pixel) ** 2
    # The blur that kept the atoms from falling between the grid's points is taken back.
    kept *= np.exp(calculator.blur * squared / 4) * (squared < (0.5 / pixel) ** 2)
    density: npt.NDArray[np.float32] = scipy.fft.irfftn(kept, s=(box,) * 3, workers=-1).astype(np.float32)
    return density


def _low_frequencies(spectrum: npt.NDArray[np.complex64], box: int) -> npt.NDArray[np.complex64]:
    """Cut a half-spectrum down to the frequencies of a coarser grid."""
    full = np.rint(scipy.fft.fftfreq(box, 1 / box)).astype(np.int64)
    return spectrum[full[:, None, None], full[:, None], np.arange(box // 2 + 1)]
