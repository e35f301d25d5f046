"""A ball cut out of a bundle of α-helices: atoms where a protein has them, as random places do not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

_RISE_ANGSTROM, _TURN_DEGREES = 1.5, 100.0
_RESIDUE = np.array(  # radius, Å, angle, degrees, and height, Å, of N, CA, C, O, CB and a side chain's next atom
    [
        (1.55, -27.6, -0.90),
        (2.28, 0.0, 0.0),
        (1.66, 26.7, 1.12),
        (2.02, 20.0, 2.33),
        (3.30, -19.5, -0.6),
        (4.30, -8.0, -1.4),
    ]
)


def helix_bundle(radius_angstrom: float, seed: int = 3) -> npt.NDArray[np.float64]:
    """Return the places of the atoms, (atoms, 3), z, y, x, Å, about the origin; helices run along z, up or down."""
    rng = np.random.default_rng(seed)
    reach = int(radius_angstrom // 9) + 1
    places = []
    for column in range(-reach, reach + 1):
        for row in range(-reach, reach + 1):
            centre = np.array([0.0, 9.0 * row, 9.5 * column + 4.0 * (row % 2)])
            places.append(centre + _helix(radius_angstrom, rng.uniform(0, 360), int(rng.choice([-1, 1]))))
    found: npt.NDArray[np.float64] = np.concatenate(places)
    inside: npt.NDArray[np.bool_] = np.linalg.norm(found, axis=1) < radius_angstrom
    return np.asarray(found[inside])


def _helix(reach_angstrom: float, phase_degrees: float, direction: int) -> npt.NDArray[np.float64]:
    residues = np.arange(-int(reach_angstrom / _RISE_ANGSTROM) - 2, int(reach_angstrom / _RISE_ANGSTROM) + 3)
    radius, angle, height = (_RESIDUE[:, column] for column in range(3))
    turned = np.radians(phase_degrees + _TURN_DEGREES * residues[:, None] + angle)
    z = direction * (_RISE_ANGSTROM * residues[:, None] + height)
    found: npt.NDArray[np.float64] = np.stack(
        [z, direction * radius * np.sin(turned), radius * np.cos(turned)], axis=-1
    )
    return found.reshape(-1, 3)


def spectrum_of(
    places_angstrom: npt.NDArray[np.float64], box: int, voxel_angstrom: float
) -> npt.NDArray[np.complex128]:
    """Return the half-complex transform of points about a box's middle, with a B factor of 16 square voxels."""
    axes = scipy.fft.fftfreq(box), scipy.fft.fftfreq(box), scipy.fft.rfftfreq(box)
    z, y, x = np.meshgrid(*axes, indexing="ij")
    found = np.zeros(z.shape, dtype=np.complex128)
    for place in places_angstrom / voxel_angstrom + box // 2:
        found += np.exp(-2j * np.pi * (z * place[0] + y * place[1] + x * place[2]))
    damped: npt.NDArray[np.complex128] = found * np.exp(-4 * (z**2 + y**2 + x**2))
    return damped
