"""Half-maps to try a regularizer on: of a real structure, and of noise alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import cpu
from extrecon.fourier.shells import fsc_of_maps
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray


@dataclass(frozen=True)
class HalfMaps:
    """Two half-maps of one structure, with what is known of it.

    Attributes
    ----------
    half1, half2 : as RELION's refinement left them
    mask : (n, n, n) array, 0 in the solvent and 1 in the particle, axes z, y, x
    truth : (n, n, n) array, the true density on the half-maps' grid; None where there is no signal
    """

    half1: HalfMap
    half2: HalfMap
    mask: FloatArray
    truth: FloatArray | None = None

    @property
    def fsc(self) -> npt.NDArray[np.float64]:
        """The FSC of the half-maps, (n // 2 + 1,)."""
        return fsc_of_maps(self.half1.density, self.half2.density, cpu(1))

    def with_densities(self, first: FloatArray, second: FloatArray, mask: FloatArray) -> HalfMaps:
        """Return half-maps of other densities under another mask; their truth is unknown."""
        return replace(
            self,
            half1=self.half1.with_density(first),
            half2=self.half2.with_density(second),
            mask=mask,
            truth=None,
        )


def example_half_maps() -> HalfMaps:
    """Return half-maps of PDB 7PBL: 32³ voxels of 5.4 Å, FSC of 1/7 near 17 Å, greatest density 1.

    RELION 3.1.3 made them of 200 simulated particles whose true angles it did not know. They are the demo's.
    """
    with (files("extrecon.testing") / "half_maps.npz").open("rb") as stream, np.load(stream) as held:
        half1, half2, truth, mask = (held[key].astype(np.float32) for key in ("half1", "half2", "truth", "mask"))
        pixel_size = float(held["pixel_size"])
    return HalfMaps(HalfMap(half1, pixel_size), HalfMap(half2, pixel_size), mask, truth)


def noise_half_maps(seed: int = 1) -> HalfMaps:
    """Return two maps of independent white noise, as strong as in the example's solvent, under its mask."""
    example = example_half_maps()
    solvent = example.half1.density[example.mask == 0]
    noise = np.random.default_rng(seed).normal(scale=solvent.std(), size=(2, *example.mask.shape))
    first, second = noise.astype(np.float32)
    return example.with_densities(first, second, example.mask)
