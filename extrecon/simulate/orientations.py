"""Sets of orientations: uniform, on a HEALPix grid, in a cone, about one axis; and errors put on them.

An orientation is a pose as in `extrecon.relion.particles`: its third column is the viewing direction.
"""

from __future__ import annotations

import healpix
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from extrecon.errors import UsageError
from extrecon.relion.particles import EULER_AXES

Array = npt.NDArray[np.float64]
_SPHERE_DEGREES = 180 / np.pi


def uniform(count: int, rng: np.random.Generator) -> Rotation:
    """Return uniformly random orientations."""
    return Rotation.random(count, random_state=rng)


def healpix_grid(step_degrees: float, rng: np.random.Generator, tilt_degrees: tuple[float, float]) -> Rotation:
    """Return one orientation for each direction of the coarsest HEALPix grid at least as fine as ``step_degrees``.

    In-plane angles are random. Górski et al., Astrophys. J. 622, 759 (2005): 12 nside² pixels of equal area, so
    that the step is √(4π / (12 nside²)); ``nside`` is a power of two as in RELION.

    Parameters
    ----------
    step_degrees : at most 58.6, the step of ``nside`` 1
    tilt_degrees : smallest and largest tilt kept
    """
    if not 0.2 <= step_degrees <= 60:
        raise UsageError(f"A HEALPix step must be from 0.2 to 60 degrees, not {step_degrees:g}.")
    nside = 1
    while healpix_step_degrees(nside) > step_degrees:
        nside *= 2
    tilt, rot = healpix.pix2ang(nside, np.arange(12 * nside**2))
    kept = (np.degrees(tilt) >= tilt_degrees[0]) & (np.degrees(tilt) <= tilt_degrees[1])
    if not kept.any():
        raise UsageError(f"No direction of the grid has a tilt from {tilt_degrees[0]:g} to {tilt_degrees[1]:g}°.")
    psi = rng.uniform(0, 2 * np.pi, int(kept.sum()))
    return Rotation.from_euler(EULER_AXES, np.stack([rot[kept], tilt[kept], psi], axis=1))


def healpix_step_degrees(nside: int) -> float:
    """Return the edge of a HEALPix pixel, degrees."""
    return _SPHERE_DEGREES * float(np.sqrt(4 * np.pi / (12 * nside**2)))


def cone(count: int, rng: np.random.Generator, tilt_degrees: tuple[float, float]) -> Rotation:
    """Return orientations uniform over the part of the sphere between two tilts from z, random in the plane.

    Raises
    ------
    UsageError : not 0 ≤ smallest < largest ≤ 180.
    """
    low, high = tilt_degrees
    if not 0 <= low < high <= 180:
        raise UsageError(f"Tilts must run from 0 to 180 degrees, the smaller first, not {low:g} to {high:g}.")
    rot, psi = rng.uniform(-np.pi, np.pi, (2, count))
    tilt = np.arccos(rng.uniform(np.cos(np.radians(high)), np.cos(np.radians(low)), count))
    return Rotation.from_euler(EULER_AXES, np.stack([rot, tilt, psi], axis=1))


def single_axis(count: int, rng: np.random.Generator, tilt_degrees: float) -> Rotation:
    """Return orientations of one tilt, turned at random about z and in the plane; 90° are side views."""
    rot, psi = rng.uniform(-np.pi, np.pi, (2, count))
    return Rotation.from_euler(EULER_AXES, np.stack([rot, np.full(count, np.radians(tilt_degrees)), psi], axis=1))


def perturbed(poses: Rotation, degrees: float, rng: np.random.Generator) -> Rotation:
    """Return the orientations turned by Gaussian errors of a standard deviation about each of three axes."""
    return poses * Rotation.from_rotvec(np.radians(rng.normal(0, degrees, (len(poses), 3))))
