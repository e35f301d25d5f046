"""Q-score: how much the density around each atom looks like one."""

from __future__ import annotations

import gemmi
import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

FloatArray = npt.NDArray[np.float64]

SIGMA_ANGSTROM = 0.6
RADII_ANGSTROM = np.arange(0.0, 2.01, 0.1)
POINTS = 8
_TRIED = 64
_BATCH = 2000
_NEIGHBOURS_ANGSTROM = 2 * RADII_ANGSTROM[-1]  # farther ones are nearer to none of an atom's points


def q_scores(
    density: npt.NDArray[np.floating],
    pixel_size_angstrom: float,
    places_angstrom: FloatArray,
    sigma_angstrom: float = SIGMA_ANGSTROM,
) -> FloatArray:
    """Return the Q-score of each atom, (atoms,).

    Pintilie et al., Nature Methods 17, 328 (2020), equation 1: the correlation about the mean, over points on
    spheres of radius 0, 0.1, … 2.0 Å about the atom, between the density (trilinear) and a Gaussian
    A exp(−r² / 2σ²) + B. A and B follow the map's mean and standard deviation; they cancel in the correlation. Of
    each sphere eight points are kept that are nearer to this atom than to any other; spheres without such points
    are left out.

    Parameters
    ----------
    density : (n, n, n), axes z, y, x, its first voxel at the origin
    places_angstrom : (atoms, 3), x, y, z
    """
    sphere = _spread_points(_TRIED)
    tree = cKDTree(places_angstrom)
    volume = np.asarray(density, dtype=np.float64)
    scores = np.empty(len(places_angstrom))
    for start in range(0, len(places_angstrom), _BATCH):
        some = places_angstrom[start : start + _BATCH]
        own = _own_reach(some, tree, sphere)
        values, gaussian, weights = _profiles(volume, pixel_size_angstrom, some, own, sphere, sigma_angstrom)
        scores[start : start + _BATCH] = _correlations(values, gaussian, weights)
    return scores


def _own_reach(places: FloatArray, tree: cKDTree, sphere: FloatArray) -> FloatArray:
    """Return how far from each atom along each direction it is the nearest one, Å, (atoms, directions).

    Along a unit vector u a neighbour at d is as near at |d|² / (2 u·d), if that is in front.
    """
    most = int(max(tree.query_ball_point(places, _NEIGHBOURS_ANGSTROM, return_length=True)))
    _, found = tree.query(places, k=most, distance_upper_bound=_NEIGHBOURS_ANGSTROM)
    others = found.reshape(len(places), most)
    reach = np.full((len(places), len(sphere)), np.inf)
    for column in others.T:
        is_there = column < tree.n
        apart = np.where(is_there[:, None], tree.data[np.minimum(column, tree.n - 1)] - places, 0.0)
        ahead = apart @ sphere.T
        half = 0.5 * np.sum(apart * apart, axis=1, keepdims=True)
        np.minimum(reach, np.divide(half, ahead, out=np.full_like(ahead, np.inf), where=ahead > 0), out=reach)
    return reach


def _profiles(
    volume: FloatArray, pixel: float, places: FloatArray, own_reach: FloatArray, sphere: FloatArray, sigma: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the densities, the Gaussian's values and which points count, each (atoms, radii · points)."""
    values, gaussian, weights = [], [], []
    for radius in RADII_ANGSTROM:
        mine = own_reach > radius
        order = np.argsort(~mine, axis=1, kind="stable")[:, :POINTS]
        kept = np.take_along_axis(mine, order, axis=1)
        points = places[:, None] + radius * sphere[order]
        found = map_coordinates(volume, points.reshape(-1, 3)[:, ::-1].T / pixel, order=1, mode="nearest")
        values.append(found.reshape(kept.shape))
        gaussian.append(np.full(kept.shape, np.exp(-(radius**2) / (2 * sigma**2))))
        weights.append(kept.astype(np.float64))
    return np.concatenate(values, 1), np.concatenate(gaussian, 1), np.concatenate(weights, 1)


def _correlations(values: FloatArray, gaussian: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights.sum(axis=1, keepdims=True)
    u, v = (each - (weights * each).sum(axis=1, keepdims=True) / total for each in (values, gaussian))
    norm = np.sqrt((weights * u * u).sum(axis=1) * (weights * v * v).sum(axis=1))
    product = (weights * u * v).sum(axis=1)
    scores: FloatArray = np.divide(
        product, norm, out=np.zeros(len(norm)), where=norm > 1e-12 * np.abs(values).max()
    )
    return scores


def _spread_points(count: int) -> FloatArray:
    """Return points on the unit sphere, (count, 3), each as far as can be from all before it: any start is even."""
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    turn = np.pi * (3 - 5**0.5) * np.arange(count)
    flat = np.sqrt(1 - height**2)
    spiral = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)
    order = [0]
    while len(order) < count:
        nearest = (spiral @ spiral[order].T).max(axis=1)
        nearest[order] = np.inf
        order.append(int(nearest.argmin()))
    return spiral[order]


def residue_q_scores(
    density: npt.NDArray[np.floating], pixel_size_angstrom: float, structure: gemmi.Structure
) -> list[tuple[str, str, float]]:
    """Return chain, residue and mean Q-score over its non-hydrogen atoms, in the file's order."""
    sites = [site for site in structure[0].all() if not site.atom.element.is_hydrogen]
    places = np.array([site.atom.pos.tolist() for site in sites])
    scores = q_scores(density, pixel_size_angstrom, places)
    grouped: dict[tuple[str, str], list[float]] = {}
    for site, score in zip(sites, scores, strict=True):
        name = f"{site.residue.name} {site.residue.seqid}"
        grouped.setdefault((site.chain.name, name), []).append(float(score))
    return [(chain, name, float(np.mean(found))) for (chain, name), found in grouped.items()]
