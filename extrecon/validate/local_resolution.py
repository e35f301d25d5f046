"""Local resolution of half-maps: where their FSC inside a window falls under a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from extrecon.fourier.compute import Compute, cpu
from extrecon.fourier.resolution import HALF, resolution_of_last_above
from extrecon.validate.fsc import fsc, last_filled_shell
from extrecon.validate.local_fsc import Bands, bands_for, local_correlations

FloatArray = npt.NDArray[np.float64]
Volume = npt.NDArray[np.floating[Any]]

HALVES_THRESHOLD = HALF
"""Of the local FSC of the half-maps."""
WINDOW = 5.0
"""The window's edge, in units of the half-maps' resolution at FSC 0.5; Bsoft's rule is 5 to 7."""


def usual_window(halves: tuple[Volume, Volume], mask: Volume, pixel_size_angstrom: float) -> float:
    """Return `WINDOW` times the resolution at half-map FSC 0.5 under the mask, Å; at most half of the box."""
    curve = fsc(halves[0] * mask, halves[1] * mask)
    resolution = resolution_of_last_above(curve, pixel_size_angstrom, HALVES_THRESHOLD)
    return min(WINDOW * resolution, len(mask) * pixel_size_angstrom / 2)


def median_local_resolution(
    halves: tuple[Volume, Volume], mask: Volume, pixel_size_angstrom: float, window_angstrom: float
) -> float:
    """Return the median over the mask of where the half-maps' local FSC falls under 0.5, Å.

    Parameters
    ----------
    halves : unregularized half-maps, (n, n, n)
    mask : 0 to 1; the median is over the lattice's points where it is at least 0.5
    window_angstrom : edge of the window; another size gives other numbers
    """
    last = min(last_filled_shell(np.asarray(each, np.float64)) for each in halves)
    bands = bands_for(len(mask), window_angstrom / pixel_size_angstrom, last)
    (found,) = local_resolutions_of_pairs(halves, {(0, 1): HALVES_THRESHOLD}, bands, pixel_size_angstrom)
    axis = np.arange(len(found)) * (len(mask) / len(found))
    places = np.meshgrid(axis, axis, axis, indexing="ij")
    inside = map_coordinates(np.asarray(mask, np.float32), places, order=1, mode="grid-wrap") >= HALF
    return float(np.median(found[inside])) if inside.any() else float("nan")


def local_resolutions_of_pairs(
    maps: Sequence[Volume],
    pairs: Mapping[tuple[int, int], float],
    bands: Bands,
    pixel_size_angstrom: float,
    compute: Compute | None = None,
) -> list[FloatArray]:
    """Return where, around each point of a lattice, the local FSC of each pair of maps falls, (m, m, m), Å.

    That is where it first falls under its threshold, linear in frequency between two bands (see
    `extrecon.validate.local_fsc`); the window's edge where it never stands above, the finest that the maps hold
    where it never falls.

    Parameters
    ----------
    maps : (n, n, n) each
    pairs : which two maps, and the threshold of their local FSC
    """
    compute = compute or cpu()
    spectra = [compute.rfftn(compute.to_device(each, np.float32), axes=(0, 1, 2)) for each in maps]
    crossings = [_Crossing(bands, threshold) for threshold in pairs.values()]
    correlations = local_correlations(spectra, list(pairs), bands, compute)
    for centre, of_each in zip(bands.centres, correlations, strict=True):
        for crossing, values in zip(crossings, of_each, strict=True):
            crossing.add(float(centre), values)
    return [bands.box * pixel_size_angstrom / crossing.shells() for crossing in crossings]


class _Crossing:
    """Where curves first fall under a threshold, told value by value."""

    def __init__(self, bands: Bands, threshold: float) -> None:
        self._threshold, self._last = threshold, float(bands.last_shell)
        self._found = np.full((bands.lattice,) * 3, np.nan)
        self._before: tuple[float, npt.NDArray[np.float32]] | None = None

    def add(self, shell: float, values: npt.NDArray[np.float32]) -> None:
        """Take the curves' values at the next shell."""
        falls = np.isnan(self._found) & (values < self._threshold)
        if self._before is None:
            self._found[falls] = shell
        else:
            earlier, high = self._before
            above = high[falls] - self._threshold
            share = above / np.maximum(high[falls] - values[falls], 1e-12)
            self._found[falls] = earlier + (shell - earlier) * share
        self._before = shell, values

    def shells(self) -> FloatArray:
        """Return the crossings in shells, the last shell where there is none."""
        return np.where(np.isnan(self._found), self._last, self._found)
