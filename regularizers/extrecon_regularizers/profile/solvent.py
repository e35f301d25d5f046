"""What the solvent tells: the noise's amplitude in each shell, and how far and how much signal rises above it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Compute
from extrecon.fourier.edges import falling_edge
from extrecon.fourier.filter_bank import bounding_block
from extrecon.fourier.lattice import Lattice
from extrecon.fourier.masks import distance_px
from extrecon.fourier.resolution import ONE_SEVENTH, first_shell_under, last_shell_above
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon_regularizers.profile.scaling import Padded, Profiles
from extrecon_regularizers.profile.windows import Window, local_profiles

_MOST_WINDOWS = 1000
_FEWEST_WINDOWS = 20
_FINEST_DISTANCES = 64  # blocks along an axis
_POWER_ABOVE_NOISE = 1.25
_SMALLEST_SIGNAL = 0.05  # of a shell's amplitude: what is left where noise takes all
_EDGE = 0.1  # width of the soft edge at the finest resolution, as a share of its frequency


def solvent_profile(
    density: FloatArray, inside: npt.NDArray[np.bool_], window: Window, compute: Compute
) -> npt.NDArray[np.float64]:
    """Return the mean amplitude of each shell of windows in the solvent, (half + 1,).

    The windows are those farthest from the mask within the inscribed sphere; 0 everywhere if the map is constant
    there, as a masked map is.
    """
    box = len(density)
    axis = (np.arange(box) - box // 2) ** 2
    squared = axis[:, None, None] + axis[:, None] + axis
    room = max(box // 2 - window.half, 1)
    distance = _distance_px(inside)
    distance[squared > room**2] = 0
    far = distance >= min(window.half, float(np.partition(distance.ravel(), -_FEWEST_WINDOWS)[-_FEWEST_WINDOWS]))
    far &= distance > 0
    if not far.any():
        return np.zeros(window.half + 1)
    stride = max(1, round((int(far.sum()) / _MOST_WINDOWS) ** (1 / 3)))
    lattice = Lattice(far, bounding_block(far), stride)
    if stride > 1:
        lattice.wanted = _at_points(far, lattice)
        if not lattice.wanted.any():
            lattice = Lattice(far, bounding_block(far), 1)
    padded = Padded.around(density, inside, lattice, window.half, compute)
    profiles = local_profiles(padded.volume, padded.corner, lattice, window, compute)
    power = (profiles.astype(np.float64) ** 2).mean(axis=0)
    return np.asarray(np.sqrt(power))


def _distance_px(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return each voxel's distance from the mask, voxels; in a large box that of its block of voxels."""
    box = len(inside)
    block = max(1, box // _FINEST_DISTANCES)
    count = -(-box // block)
    padded = np.zeros((count * block,) * 3, bool)
    padded[:box, :box, :box] = inside
    coarse = padded.reshape(count, block, count, block, count, block).any(axis=(1, 3, 5))
    outside = np.logical_not(coarse, dtype=bool)
    distance = np.float32(block) * distance_px(outside)
    for axis in range(3):
        distance = distance.repeat(block, axis)
    return distance[:box, :box, :box]


def _at_points(far: npt.NDArray[np.bool_], lattice: Lattice) -> npt.NDArray[np.bool_]:
    z, y, x = (np.minimum(points, len(far) - 1) for points in lattice.points)
    return far[np.ix_(z, y, x)]


def finest_from_fsc(half_map_fsc: npt.NDArray[np.float64], half_map: HalfMap) -> float:
    """Return the resolution, Å, at which the half-map FSC falls under 1/7; Nyquist if it never does."""
    first_under = first_shell_under(half_map_fsc, ONE_SEVENTH)
    if first_under == len(half_map_fsc):
        return half_map.nyquist_angstrom
    return half_map.box * half_map.pixel_size_angstrom / max(first_under, 2)


def finest_above_noise(own: Profiles, noise: npt.NDArray[np.float64], window_angstrom: float) -> float:
    """Return the resolution, Å, up to which the particle's windows hold a quarter more power than the solvent's."""
    power = (own.astype(np.float64) ** 2).mean(axis=0)
    return window_angstrom / max(last_shell_above(power, _POWER_ABOVE_NOISE * noise**2), 3)


def signal(own: Profiles, noise: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return profiles without the noise, whose power adds to the signal's: (windows, shells)."""
    amplitude = own.astype(np.float64)
    return np.sqrt(np.maximum(amplitude**2 - noise**2, (_SMALLEST_SIGNAL * amplitude) ** 2))


def trust(
    own: Profiles, noise: npt.NDArray[np.float64], frequency: npt.NDArray[np.float64], finest_angstrom: float
) -> npt.NDArray[np.float64]:
    """Return by what to multiply each shell of each window for its noise, (windows, shells).

    That is the signal's share of the power, as in Wiener's filter, and 0 beyond a soft edge at the finest
    resolution.

    Parameters
    ----------
    own : (windows, shells) profiles
    noise : (shells,) the solvent's mean amplitude
    frequency : (shells,) 1/Å
    finest_angstrom : where the signal ends, Å
    """
    share = signal(own, noise) ** 2 / np.maximum(own.astype(np.float64) ** 2, 1e-30)
    beyond = frequency * finest_angstrom - 1
    return np.asarray(share * falling_edge(beyond / _EDGE))
