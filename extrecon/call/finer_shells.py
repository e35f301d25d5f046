"""What the joined map's regularized form shows beyond the half-map FSC's cut-off: the plain map's own shells.

Within a refinement nothing stands there, since what both halves were taught would pass for agreement. The joined
map is the end: no FSC is taken of it any more. Where the FSC falls under 1/7 the map correlates 1/2 with the truth,
and in directions that many views cover by more.

RELION's MAP term leaves these shells stronger than their best estimate is, to which the regularizer comes near. So
they are scaled by the factor that brings the plain map to the regularized one where that ends, and no step is seen.
"""

from __future__ import annotations

from dataclasses import replace

from extrecon.call.safeguards import CUTOFF_EDGE_SHELLS
from extrecon.call.treatment import flattened
from extrecon.fourier.compute import Compute
from extrecon.fourier.shells import Shells, relative_strength, soft_step
from extrecon.maps.half_map import FloatArray
from extrecon.record import Record
from extrecon.regularizer import Regularized


def with_finer_shells(regularized: Regularized, plain: FloatArray, record: Record, compute: Compute) -> Regularized:
    """Return a guarded density with the plain map's shells beyond the cut-off that the record tells; tell it there.

    Where the solvent was flattened they stand within the mask. A density that was not cut off stays as it is.

    Parameters
    ----------
    regularized : density (n, n, n), axes z, y, x, as the safeguards left it
    plain : (n, n, n) the map that was regularized
    """
    last, mask = record.safeguards.get("fsc_cutoff"), regularized.mask
    if not isinstance(last, int):
        return regularized
    shells = Shells(len(plain), compute)
    spectrum = shells.spectrum(plain)
    seen = spectrum if mask is None else shells.spectrum(flattened(plain, mask))
    ours = shells.spectrum(regularized.density)
    factor = min(1.0, relative_strength(ours, seen, shells, last, CUTOFF_EDGE_SHELLS) or 0.0)
    shells.scale(spectrum, factor * (1.0 - soft_step(shells.count, last, CUTOFF_EDGE_SHELLS)))
    finer = shells.density(spectrum)
    origin = "the plain map's" if mask is None else "the plain map's, within the mask"
    record.treatment["finer_shells"] = f"{origin}, times {factor:.3f}"
    return replace(regularized, density=regularized.density + (finer if mask is None else finer * mask))
