"""Masks: spheres, soft edges, and a particle mask made from a half-map alone."""

from __future__ import annotations

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

    The map is low-passed with a Gaussian, cut where it rises above the noise of the solvent and above a tenth
    of its peak, freed of small parts, filled, widened a little and given a soft edge. Solvent is what lies
    outside of the particle's diameter, or in the outer tenth of the inscribed sphere if that is not known.

    Parameters
    ----------
    half_map : the map; its density must be positive
    particle_diameter_angstrom : Å; nothing outside this sphere is taken for particle
    """
    n, pixel = half_map.box, half_map.pixel_size_angstrom
    distance = radius_px(n)
    limit = 0.5 * n
    if particle_diameter_angstrom is not None:
        limit = min(limit, 0.5 * particle_diameter_angstrom / pixel)
    # A Gaussian of this σ leaves half of the amplitude at the stated resolution.
    sigma_px = LOW_PASS_ANGSTROM * np.sqrt(2 * np.log(2)) / (2 * np.pi) / pixel
    smooth = scipy.ndimage.gaussian_filter(np.asarray(half_map.density, dtype=np.float32), sigma_px)
    solvent = _solvent(distance, limit, n)
    noise_mean, noise_sd = float(smooth[solvent].mean()), float(smooth[solvent].std())
    inside = distance <= limit
    peak = float(np.percentile(smooth[inside], 99.5))
    level = max(noise_mean + NOISE_SIGMAS * noise_sd, noise_mean + FRACTION_OF_PEAK * (peak - noise_mean))
    core = _without_small_parts((smooth > level) & inside)
    if not core.any():
        return soft_sphere(n, max(limit - EDGE_PX, 1.0))
    filled = scipy.ndimage.binary_fill_holes(core)
    outside = scipy.ndimage.distance_transform_edt(~filled).astype(np.float32)
    mask = _raised_cosine(outside - EXTENSION_ANGSTROM / pixel, EDGE_PX)
    return np.where(distance <= 0.5 * n, mask, np.float32(0.0))


def _solvent(distance: FloatArray, limit: float, n: int) -> npt.NDArray[np.bool_]:
    """Return where no particle is, inside the inscribed sphere: beyond it RELION writes a constant."""
    outermost = distance <= 0.5 * n
    beyond = outermost & (distance > limit)
    if beyond.sum() >= 0.02 * outermost.sum():
        return beyond
    return outermost & (distance > 0.9 * 0.5 * n)


def _without_small_parts(core: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
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
