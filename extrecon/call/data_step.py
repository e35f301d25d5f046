"""The last step before RELION gets a map: weigh it against the half-map's Fourier data (`data=consistent`).

The density has passed the safeguards and is right in scale. What it errs by comes from the other half's plain map
(`extrecon.call.amplitudes`), or where that is not known from the half-map FSC F: a map as good as both halves
together correlates √(2F / (1 + F)) with the truth (Rosenthal & Henderson, J. Mol. Biol. 333, 721, 2003), so that it
errs by (1 − F) / (1 + F) of the signal's power F |U|². Each Fourier point of the result lies between the density
and the data, and the FSC's cut-off is kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.call.amplitudes import LEAST_ERROR, ShellFit
from extrecon.call.safeguards import CUTOFF_EDGE_SHELLS
from extrecon.fourier.compute import Compute
from extrecon.fourier.shells import Shells, power, soft_step
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.reconstruction import data_consistent
from extrecon.record import Record
from extrecon.regularizer import Context

Curve = npt.NDArray[np.float64]


def with_data(
    density: npt.NDArray[np.float32],
    half_map: HalfMap,
    context: Context,
    fit: ShellFit | None,
    *,
    cut_off: int | str,
    record: Record,
) -> npt.NDArray[np.float32]:
    """Return the density weighed against the half-map's data, or as it is where there are none; tell the record.

    Parameters
    ----------
    density : (n, n, n), axes z, y, x, on the half-map's scale
    fit : what the other half told; None to go by the half-map FSC
    cut_off : the last shell that the safeguards kept, or why they cut nothing
    """
    if context.data is None:
        record.treatment["data"] = "left out: there are no Fourier data outside refinement"
        return density
    if fit is not None:
        error, told_by = fit.error_power, "other half"
    elif context.half_map_fsc is not None:
        error, told_by = error_by_fsc(half_map.density, context.half_map_fsc, context.compute), "half-map FSC"
    else:
        record.treatment["data"] = "left out: neither the other half nor an FSC tells how much the density errs"
        return density
    mixed = data_consistent(density, half_map.density, context.data, error, context.compute)
    record.treatment["data"] = f"consistent, by the {told_by}"
    if isinstance(cut_off, str):
        return mixed
    shells = Shells(half_map.box, context.compute)
    spectrum = shells.spectrum(mixed)
    shells.scale(spectrum, soft_step(shells.count, cut_off, CUTOFF_EDGE_SHELLS))
    return shells.density(spectrum)


def error_by_fsc(plain: FloatArray, half_map_fsc: Curve, compute: Compute) -> Curve:
    """Return by how much a map as good as both halves together errs, mean |F|² of a point, (n // 2 + 1,)."""
    shells = Shells(len(plain), compute)
    fsc = np.clip(half_map_fsc, 0.0, 1.0)
    signal = fsc * power(shells.spectrum(plain), shells) / shells.points()
    return np.asarray(signal * np.maximum((1.0 - fsc) / (1.0 + fsc), LEAST_ERROR))
