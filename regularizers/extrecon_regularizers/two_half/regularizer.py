"""The local signal-to-noise filter as a regularizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from extrecon.errors import RegularizerError
from extrecon.maps import HalfMap
from extrecon.maps.solvent import inscribed_sphere, masked_map_sentence
from extrecon.regularizer import Context, Regularized, Regularizer
from extrecon.settings import setting
from extrecon_regularizers.two_half.local_filter import BandTold, Where, filtered_with, noise_from_other


@dataclass(frozen=True)
class TwoHalfSettings:
    """What users may choose."""

    window: float = setting(
        1.0,
        "Standard deviation of the Gaussian window in which local power is measured, in units of the band's "
        "resolution.",
        minimum=0.25,
        maximum=4.0,
    )
    noise: str = setting(
        "particle",
        "Where the half-maps' difference tells a band's noise: in the particle, where the map stands out from the "
        "noise around it; in the whole sphere; or local, there and around each voxel.",
        choices=("particle", "sphere", "local"),
    )


class TwoHalf(Regularizer[TwoHalfSettings]):
    """A local Wiener filter, band by band, after SIDESPLITTER (Ramlaul, Palmer & Aylett, J. Struct. Biol. 2020).

    Noise is told by both half-maps, signal by the half-map itself: one number a band crosses between the halves.
    """

    name: ClassVar[str] = "two-half"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Filters each region by its signal-to-noise ratio, noise told by both half-maps"
    settings_type: ClassVar[type[Any]] = TwoHalfSettings
    needs_both_halves: ClassVar[bool] = True

    def memory_bytes(self, box: int) -> int:
        """Return what was measured, rounded up."""
        return 90 * box**3

    def regularize(self, half_map: HalfMap, context: Context[TwoHalfSettings]) -> Regularized:
        """Return ``half_map`` filtered, and what each band was like.

        Raises
        ------
        RegularizerError : there is no other half-map, or it is of another size.
        """
        other = context.other_half
        if other is None:
            raise RegularizerError("two-half tells noise from the difference of two half-maps: give both of them.")
        if other.box != half_map.box:
            raise RegularizerError(f"One half-map is {half_map.box}³ voxels, the other {other.box}³.")
        given = context.settings
        where = cast(Where, given.noise)
        noise_of = noise_from_other(other.density, given.window, where, context.compute)
        density, told = filtered_with(
            half_map.density,
            noise_of,
            given.window,
            context.compute,
            lambda fraction: context.progress("filter band by band", fraction),
        )
        masked = masked_map_sentence(half_map.density, inscribed_sphere(half_map.box))
        curves = {
            "half-map": _curve(half_map, told, [band.power for band in told]),
            "noise in it": _curve(half_map, told, [band.noise_power for band in told]),
        }
        return Regularized(density, _facts(half_map, told), {}, [masked] if masked else [], curves)


def _facts(half_map: HalfMap, told: list[BandTold]) -> dict[str, Any]:
    edge = half_map.box * half_map.pixel_size_angstrom
    return {
        "band_angstrom": [round(edge / band.shell, 2) for band in told],
        "band_noise_share": [round(band.noise_power / band.power, 4) if band.power > 0 else 0.0 for band in told],
        "band_mean_weight": [round(band.mean_weight, 4) for band in told],
        "band_power_kept": [round(band.kept, 4) for band in told],
    }


def _curve(half_map: HalfMap, told: list[BandTold], powers: list[float]) -> np.typing.NDArray[np.float64]:
    edge = half_map.box * half_map.pixel_size_angstrom
    return np.array([[band.shell / edge for band in told], np.sqrt(powers)])
