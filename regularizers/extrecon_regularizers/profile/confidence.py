"""A confidence map by control of the false discovery rate, and the mask it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from extrecon.errors import RegularizerError
from extrecon.maps.half_map import FloatArray
from extrecon.maps.solvent import MOST_CONSTANT, constant_share

NOISE_BOX_FRACTION = 0.1
CONFIDENCE = 0.99


@dataclass(frozen=True)
class Noise:
    """The solvent's noise.

    Attributes
    ----------
    mean, deviation : in the map's own grey scale
    """

    mean: float
    deviation: float


def noise_at_rim(density: FloatArray) -> Noise:
    """Measure the noise in four boxes at the rim of the map, in the middle of its x and y faces.

    Parameters
    ----------
    density : (n, n, n) array, axes z, y, x

    Raises
    ------
    RegularizerError : the map is constant there, as a masked map is.
    """
    box = len(density)
    edge = max(int(NOISE_BOX_FRACTION * box), 2)
    middle = slice((box - edge) // 2, (box - edge) // 2 + edge)
    low, high = slice(0, edge), slice(box - edge, box)
    places = [(middle, middle, low), (middle, middle, high), (middle, low, middle), (middle, high, middle)]
    values = np.concatenate([density[place].ravel() for place in places]).astype(np.float64)
    rim = np.zeros(density.shape, dtype=np.bool_)
    for place in places:
        rim[place] = True
    noise = Noise(float(values.mean()), float(values.std(ddof=1)))
    if noise.deviation == 0.0 or constant_share(density, rim) > MOST_CONSTANT:
        raise RegularizerError(
            "The map's rim is constant, as in a masked map, so nothing tells the noise: give the unmasked map, "
            "or a mask."
        )
    return noise


def confidence_map(density: FloatArray) -> npt.NDArray[np.float32]:
    """Return 1 − q at each voxel, q being its false discovery rate; 0 outside the inscribed sphere, (n, n, n).

    One-sided Gaussian p-values, adjusted by Benjamini & Yekutieli, Ann. Stat. 29, 1165 (2001), which holds for
    voxels that depend on each other in any way. Source: Beckers et al., IUCrJ 6, 18 (2019).

    Parameters
    ----------
    density : (n, n, n) array, axes z, y, x; unmasked
    """
    from scipy.stats import false_discovery_control

    noise = noise_at_rim(density)
    box = len(density)
    axis = (np.arange(box) - box // 2) ** 2
    sphere = axis[:, None, None] + axis[:, None] + axis < (box // 2) ** 2
    # The upper tail as the lower one of the mirrored number: 1 − ndtr would round to 0.
    p_values = ndtr((noise.mean - density[sphere].astype(np.float64)) / noise.deviation)
    confidence = np.zeros(density.shape, dtype=np.float32)
    confidence[sphere] = 1.0 - false_discovery_control(p_values, method="by")
    return confidence
