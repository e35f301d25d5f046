"""A regularized map averaged over the refinement's point group.

RELION makes its accumulators symmetric before it calls, so the half-map is; a regularizer that looks at each place
by itself keeps that, a network that was trained on maps in all orientations does so only nearly. What it errs by is
another at each symmetric place, so that the average errs less.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from extrecon.call.alignment import lay_out
from extrecon.errors import UsageError
from extrecon.fourier.compute import Compute
from extrecon.fourier.shells import Shells
from extrecon.maps.half_map import FloatArray
from extrecon.relion.symmetry import symmetry_group

Matrix = npt.NDArray[np.float64]

LEAST_LIKENESS = 0.95
"""Of the half-map and its own average: below, the group or the setting of its axes is another than RELION's."""
_SHELLS_COMPARED = 30
_ON_GRID = 1e-6
_EDGE_PX = 2.0


class Cosets(NamedTuple):
    """A point group G as the products h r.

    Attributes
    ----------
    on_grid : the subgroup of all h that map the grid onto itself, (count, 3, 3) on vectors z, y, x
    others : one r for each of its right cosets, the identity first, (count, 3, 3) likewise
    """

    on_grid: Matrix
    others: Matrix


def averaged(
    density: FloatArray, half_map: FloatArray, point_group: str, compute: Compute
) -> tuple[FloatArray, str]:
    """Return a density averaged over a point group, and what was done, for the record.

    Parameters
    ----------
    density, half_map : (n, n, n) arrays, axes z, y, x; only where the half-map is symmetric is the density made so
    point_group : as RELION's ``--sym``
    compute : threads to work on
    """
    try:
        group = symmetry_group(point_group)
    except UsageError:
        return density, f"kept: the point group {point_group} is not known here"
    if len(group) == 1:
        return density, "kept: C1"
    cosets = cosets_of(group.as_matrix()[:, ::-1, ::-1])
    alike = likeness_to_average(half_map, cosets, compute)
    if alike < LEAST_LIKENESS:
        told = f"the half-map itself is not {point_group}, with its average it correlates {alike:.3f}"
        return density, f"kept: {told}"
    return average(density, cosets, compute.threads), f"averaged over {point_group}"


def cosets_of(group: Matrix) -> Cosets:
    """Return a group of rotations, (count, 3, 3), as products: what keeps to voxels, and the rest."""
    on_grid = [member for member in group if np.abs(member - member.round()).max() < _ON_GRID]
    others: list[Matrix] = [np.eye(3)]
    for member in group:
        known = (h @ r for r in others for h in on_grid)
        if all(np.abs(member - product).max() > _ON_GRID for product in known):
            others.append(member)
    return Cosets(np.array(on_grid).round(), np.array(others))


def likeness_to_average(density: FloatArray, cosets: Cosets, compute: Compute) -> float:
    """Return the correlation of a map's coarse features with their average over a group."""
    spectrum = Shells(len(density), compute).spectrum(density)
    laid = lay_out(spectrum, min(_SHELLS_COMPARED, len(density) // 2 - 1), compute)
    coarse = np.fft.irfftn(laid.spectrum, s=(len(laid.spectrum),) * 3, axes=(0, 1, 2))
    mean, inside = average(coarse, cosets, compute.threads), _inscribed(len(coarse))
    ours, theirs = (each[inside] - each[inside].mean() for each in (coarse, mean))
    return float(ours @ theirs / max(float(np.linalg.norm(ours) * np.linalg.norm(theirs)), 1e-30))


def average(density: FloatArray, cosets: Cosets, threads: int) -> npt.NDArray[np.float32]:
    """Return the mean of a map over a group, turned about voxel ``n // 2``.

    Between voxels, cubic splines tell the density. Beyond the inscribed sphere, where a turned map has no values,
    and in its last voxels the map is left as it is.
    """
    mean = np.zeros(density.shape, np.float32)
    for turn in cosets.on_grid:
        mean += _on_grid(density, turn)
    mean /= len(cosets.on_grid)
    if len(cosets.others) == 1:
        return mean
    splines = np.empty_like(mean)
    scipy.ndimage.spline_filter(mean, output=splines)
    with ThreadPoolExecutor(threads) as pool:
        for first in range(1, len(cosets.others), threads):  # no more maps at a time than threads
            for turned in pool.map(partial(_between, splines), cosets.others[first : first + threads]):
                mean += turned
    return np.where(_inscribed(len(density)), mean / np.float32(len(cosets.others)), density).astype(np.float32)


def _on_grid(density: FloatArray, turn: Matrix) -> FloatArray:
    """Return ``density`` at the turned places, each a voxel."""
    axes = np.abs(turn).argmax(axis=0)
    turned = density.transpose(axes)
    for axis, source in enumerate(axes):
        if turn[source, axis] < 0:
            turned = np.flip(turned, axis)
            if len(density) % 2 == 0:  # voxel 0 lies at -n / 2, which has no opposite
                turned = np.roll(turned, 1, axis)
    return turned


def _between(splines: npt.NDArray[np.float32], turn: Matrix) -> npt.NDArray[np.float32]:
    centre = np.full(3, len(splines) // 2)
    turned, offset = np.empty_like(splines), centre - turn @ centre
    scipy.ndimage.affine_transform(splines, turn, offset, output=turned, prefilter=False)
    return turned


def _inscribed(box: int) -> npt.NDArray[Any]:
    squares = (np.arange(box) - box // 2) ** 2
    radius = squares[:, None, None] + squares[:, None] + squares
    return np.asarray(radius < (box // 2 - _EDGE_PX) ** 2)
