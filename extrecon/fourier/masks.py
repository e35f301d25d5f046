"""Masks: spheres, soft edges, and a particle mask made from a half-map alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from extrecon.fourier.edges import falling_edge
from extrecon.fourier.grids import squared_radius
from extrecon.maps.half_map import FloatArray, HalfMap

LOW_PASS_ANGSTROM = 15.0
NOISE_SIGMAS = 4.0
FRACTION_OF_PEAK = 0.1
SMALLEST_PART = 0.05
EXTENSION_ANGSTROM = 4.0
EDGE_PX = 4.0
_PEAK_PERCENTILE = 99.5


class Core(NamedTuple):
    """What is taken for particle, before it is widened.

    Attributes
    ----------
    voxels : (n, n, n) bool; none if nothing was found
    level : threshold, in the grey scale of the low-passed map
    noise_mean, noise_deviation : of the solvent in that map
    """

    voxels: npt.NDArray[np.bool_]
    level: float
    noise_mean: float
    noise_deviation: float


def radius_px(n: int) -> npt.NDArray[np.float32]:
    """Return each voxel's distance from voxel ``n // 2``, px, (n, n, n)."""
    axis = (np.arange(n) - n // 2).astype(np.float32)
    distance: npt.NDArray[np.float32] = np.sqrt(squared_radius([axis] * 3))
    return distance


def soft_sphere(n: int, radius: float, edge_px: float = EDGE_PX) -> npt.NDArray[np.float32]:
    """Return a sphere that falls from 1 to 0 by half a cosine over ``edge_px`` outside ``radius``, (n, n, n)."""
    return _raised_cosine(radius_px(n) - radius, edge_px)


def particle_mask(half_map: HalfMap, particle_diameter_angstrom: float | None = None) -> npt.NDArray[np.float32]:
    """Return a soft mask of the particle, made from one half-map alone, (n, n, n) from 0 to 1.

    What `particle_core` finds is filled, widened a little and given a soft edge.

    Parameters
    ----------
    half_map : the map; its density must be positive
    particle_diameter_angstrom : Å; nothing outside this sphere is taken for particle
    """
    n, pixel = half_map.box, half_map.pixel_size_angstrom
    core = particle_core(half_map, particle_diameter_angstrom).voxels
    if not core.any():
        return soft_sphere(n, max(limit_px(half_map, particle_diameter_angstrom) - EDGE_PX, 1.0))
    return widened(core, EXTENSION_ANGSTROM / pixel, EDGE_PX)


def particle_core(
    half_map: HalfMap,
    particle_diameter_angstrom: float | None = None,
    low_pass_angstrom: float = LOW_PASS_ANGSTROM,
) -> Core:
    """Return where one map rises above the noise of its solvent.

    The map is low-passed with a Gaussian, cut where it rises above the noise of the solvent and above a tenth
    of its peak, and freed of small parts. Solvent is what lies outside of the particle's diameter, or in the outer
    tenth of the inscribed sphere if that is not known.
    """
    n, pixel = half_map.box, half_map.pixel_size_angstrom
    limit = limit_px(half_map, particle_diameter_angstrom)
    distance = radius_px(n)
    smooth = gaussian_low_pass(np.asarray(half_map.density, dtype=np.float32), low_pass_angstrom, pixel)
    solvent = solvent_voxels(distance, limit, n)
    noise_mean, noise_sd = float(smooth[solvent].mean()), float(smooth[solvent].std())
    inside = distance <= limit
    level = max(noise_mean + NOISE_SIGMAS * noise_sd, level_of_peak(smooth[inside], noise_mean))
    return Core(without_small_parts((smooth > level) & inside), level, noise_mean, noise_sd)


def level_of_peak(inside: FloatArray, solvent_mean: float) -> float:
    """Return the density a tenth of the way from the solvent to the peak, of the voxels inside, (m,)."""
    peak = float(np.percentile(inside, _PEAK_PERCENTILE))
    return solvent_mean + FRACTION_OF_PEAK * (peak - solvent_mean)


def limit_px(half_map: HalfMap, particle_diameter_angstrom: float | None) -> float:
    """Return the radius beyond which no particle is looked for, px."""
    limit = 0.5 * half_map.box
    if particle_diameter_angstrom is not None:
        limit = min(limit, 0.5 * particle_diameter_angstrom / half_map.pixel_size_angstrom)
    return limit


def gaussian_low_pass(
    density: npt.NDArray[np.float32], resolution_angstrom: float, pixel_size_angstrom: float
) -> npt.NDArray[np.float32]:
    """Return a map under a Gaussian that leaves half of the amplitude at a resolution, (n, n, n)."""
    sigma_px = resolution_angstrom * np.sqrt(2 * np.log(2)) / (2 * np.pi) / pixel_size_angstrom
    smooth: npt.NDArray[np.float32] = scipy.ndimage.gaussian_filter(density, sigma_px)
    return smooth


def widened(core: npt.NDArray[np.bool_], extension_px: float, edge_px: float) -> npt.NDArray[np.float32]:
    """Return the core filled, extended and with a soft edge; 0 outside the inscribed sphere, (n, n, n)."""
    filled = scipy.ndimage.binary_fill_holes(core)
    mask = _raised_cosine(distance_px(~filled) - extension_px, edge_px)
    n = len(core)
    return np.where(radius_px(n) <= 0.5 * n, mask, np.float32(0.0))


def distance_px(outside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return each voxel's distance from the nearest one that is not outside, px, (n, n, n).

    From the places that SciPy finds, plane by plane: its own distances take 48 bytes a voxel on the way.
    """
    nearest = scipy.ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
    distance = np.empty(outside.shape, np.float32)
    _, rows, columns = np.ogrid[:1, : outside.shape[1], : outside.shape[2]]
    for z, plane in enumerate(distance):
        away = nearest[0, z] - z, nearest[1, z] - rows[0], nearest[2, z] - columns[0]
        plane[:] = np.sqrt(sum(np.square(a, dtype=np.int64) for a in away))
    return distance


def solvent_voxels(distance: FloatArray, limit: float, n: int) -> npt.NDArray[np.bool_]:
    """Return where no particle is, inside the inscribed sphere: beyond it RELION writes a constant."""
    outermost = distance <= 0.5 * n
    beyond = outermost & (distance > limit)
    if beyond.sum() >= 0.02 * outermost.sum():
        return beyond
    return outermost & (distance > 0.9 * 0.5 * n)


def without_small_parts(core: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the core without parts that hold less than a twentieth of the largest one's voxels."""
    labels, count = scipy.ndimage.label(core)
    if count < 2:
        return core
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = sizes >= SMALLEST_PART * sizes.max()
    kept: npt.NDArray[np.bool_] = keep[labels]
    return kept


def _raised_cosine(beyond_px: FloatArray, edge_px: float) -> npt.NDArray[np.float32]:
    """Return 1 where ``beyond_px`` ≤ 0, 0 where it exceeds ``edge_px``, half a cosine between."""
    return falling_edge(beyond_px / edge_px).astype(np.float32)
