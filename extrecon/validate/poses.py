"""Angular and shift errors against known poses, symmetry-aware, before and after a rigid-body alignment.

Poses and shifts are as in `extrecon.relion.particles`. If a whole map is turned by G, every pose R becomes G R:
half-sets of a refinement drift apart like that, and nothing is wrong with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

FloatArray = npt.NDArray[np.float64]
_ROUNDS = 4
_FAR = 3.0  # times the median: what lies beyond is left out of the common turn


@dataclass(frozen=True)
class PoseErrors:
    """Errors of one set of particles that were refined together.

    Attributes
    ----------
    angles_degrees : (particles,), before the alignment
    aligned_angles_degrees : (particles,), after it
    shifts_angstrom : (particles,), lengths, before the alignment
    aligned_shifts_angstrom : (particles,), after it
    drift_degrees : the turn of the whole set
    drift_angstrom : (3,), the whole set's shift x, y, z in the map's frame
    """

    angles_degrees: FloatArray
    aligned_angles_degrees: FloatArray
    shifts_angstrom: FloatArray
    aligned_shifts_angstrom: FloatArray
    drift_degrees: float
    drift_angstrom: FloatArray


def pose_errors(
    found: Rotation, true: Rotation, found_shifts: FloatArray, true_shifts: FloatArray, group: Rotation
) -> PoseErrors:
    """Return the errors of a set of poses.

    The angle of a particle is the least |(S found) true⁻¹| over the symmetry operators S. The common turn is the
    mean of these rotations, without those beyond three medians; the common shift t, whose image in a view is the
    first two coordinates of found⁻¹ t, is fitted by least squares.

    Parameters
    ----------
    found, true : poses, one for each particle
    found_shifts, true_shifts : (particles, 2), Å
    group : the point group's rotations
    """
    before = nearest_departure(found, true, Rotation.identity(), group)
    common = common_turn(before)
    for _ in range(_ROUNDS if len(group) > 1 else 0):
        common = common_turn(nearest_departure(found, true, common, group))
    after = nearest_departure(found, true, common, group)
    offset = found_shifts - true_shifts
    rows = found.inv().as_matrix().reshape(-1, 3, 3)[:, :2]
    drift, *_ = np.linalg.lstsq(rows.reshape(-1, 3), offset.reshape(-1), rcond=None)
    left = offset - rows @ drift
    return PoseErrors(
        angles_degrees=_degrees(before),
        aligned_angles_degrees=_degrees(common.inv() * after),
        shifts_angstrom=np.linalg.norm(offset, axis=1),
        aligned_shifts_angstrom=np.linalg.norm(left, axis=1),
        drift_degrees=float(_degrees(common)),
        drift_angstrom=-np.asarray(drift, np.float64),
    )


def nearest_departure(found: Rotation, true: Rotation, common: Rotation, group: Rotation) -> Rotation:
    """Return (S found) true⁻¹ with, for each particle, the operator S that leaves least beyond the turn."""
    quaternions = np.stack([(member * found * true.inv()).as_quat().reshape(-1, 4) for member in group])
    beyond = np.stack([(common.inv() * Rotation.from_quat(each)).magnitude() for each in quaternions])
    return Rotation.from_quat(quaternions[beyond.argmin(axis=0), np.arange(quaternions.shape[1])])


def common_turn(departure: Rotation) -> Rotation:
    """Return the mean of rotations, without those that lie far off."""
    common = departure.mean()
    for _ in range(2):  # once more without what lies far off
        left = _degrees(common.inv() * departure)
        near = left <= max(_FAR * float(np.median(left)), 1e-9)
        common = departure[near].mean()
    return common


def _degrees(turns: Rotation) -> FloatArray:
    return np.degrees(np.asarray(turns.magnitude()))
