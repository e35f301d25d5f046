"""Maps whose local resolution is known, and what other methods tell of them: what study_deepres measures with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gemmi
import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from training.deepres_maps import rest_map
from training.deepres_samples import SUPPORT_ANGSTROM, SUPPORT_LEVEL, Look, raised_cosine
from training.particles import Particle

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import cpu
from extrecon.maps import HalfMap
from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, Context, LocalResolution, load
from extrecon.settings import read_settings

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_PAIRS_ANGSTROM = ((2.5, 4.0), (3.0, 6.0), (4.0, 8.0), (5.0, 10.0), (7.0, 12.0), (2.5, 12.0))
CONDITIONS = {  # noise in deviations of the signal, B factor, masked
    "noise 0.1": (0.1, 0.0, False),
    "noise 0.4": (0.4, 0.0, False),
    "noise 1.0": (1.0, 0.0, False),
    "blurred, B 80": (0.1, 80.0, False),
    "sharpened, B -40": (0.1, -40.0, False),
    "masked": (0.1, 0.0, True),
}
_NEAR_ANGSTROM = 3.0
_FSC_WINDOW_ANGSTROM = 6.0  # standard deviation; full width at half maximum 14 Å
_FSC_THRESHOLD = 0.5


@dataclass(frozen=True)
class Known:
    """A map and its truth.

    Attributes
    ----------
    halves : two half-maps, (n, n, n), whose mean is the map
    resolution_angstrom : what the map looks like, (n, n, n), 0 outside the particle
    pixel_size_angstrom : edge of a voxel
    """

    halves: tuple[Array, Array]
    resolution_angstrom: Array
    pixel_size_angstrom: float

    @property
    def mean(self) -> Array:
        """The map."""
        return np.asarray((self.halves[0] + self.halves[1]) / 2, dtype=np.float32)


def radius(box: int) -> Array:
    """Return each point's frequency in a real transform, cycles a voxel."""
    full, half = scipy.fft.fftfreq(box), scipy.fft.rfftfreq(box)
    found: Array = np.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2).astype(np.float32)
    return found


def filtered(volume: npt.NDArray[np.floating], gain: npt.NDArray[np.floating]) -> Array:
    """Return a map times a gain on the points of its real transform."""
    spectrum = scipy.fft.rfftn(np.asarray(volume, dtype=np.float32))
    return np.asarray(scipy.fft.irfftn(spectrum * gain, s=volume.shape), dtype=np.float32)


def low_pass_gain(box: int, resolution_voxels: float) -> Array:
    """Return the paper's low-pass on the points of a real transform: 1 up to the resolution, then falling."""
    return np.asarray(raised_cosine(resolution_voxels, frequency=radius(box)), dtype=np.float32)


def low_pass(volume: npt.NDArray[np.floating], resolution_voxels: float) -> Array:
    """Return a map without what is finer, by the raised cosine of the paper."""
    return filtered(volume, low_pass_gain(len(volume), resolution_voxels))


def sharpened(volume: npt.NDArray[np.floating], b: float, pixel_size: float) -> Array:
    """Return a map with a B factor, Å², applied: above 0 blurs."""
    return filtered(volume, np.exp(-b * (radius(len(volume)) / pixel_size) ** 2 / 4))


def chains(found: gemmi.Structure, names: list[str]) -> list[Particle]:
    """Return some chains, each by itself."""
    kept = []
    for name in names:
        sites = [
            atom
            for chain in found[0]
            if chain.name == name
            for residue in chain
            if not residue.is_water()
            for atom in residue
        ]
        elements = [atom.element.name for atom in sites]
        kept.append(Particle(elements, np.array([atom.pos.tolist() for atom in sites])))
    return kept


def in_one_box(
    parts: list[Particle], pixel_size: float, room: float = 14.0
) -> tuple[list[Array], npt.NDArray[np.int_]]:
    """Return each part's map at rest in a common box, and which part each voxel is within 3 Å of; −1: none."""
    places = np.concatenate([part.places for part in parts])
    low, high = places.min(axis=0), places.max(axis=0)
    box = int(4 * np.ceil((high - low).max() / pixel_size / 4 + 2 * room / pixel_size / 4))
    shift = box * pixel_size / 2 - (low + high) / 2
    maps = [rest_map(part.elements, part.places + shift, pixel_size, box).astype(np.float32) for part in parts]
    grid = np.stack(np.meshgrid(*[np.arange(box) * pixel_size] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    distance, nearest = cKDTree(places + shift).query(grid[:, ::-1], distance_upper_bound=_NEAR_ANGSTROM)
    owner = np.repeat(np.arange(len(parts)), [len(part.places) for part in parts])
    found = np.where(np.isfinite(distance), np.append(owner, -1)[np.minimum(nearest, len(owner))], -1)
    return maps, found.reshape((box,) * 3)


def support(truth: Array) -> Mask:
    """Return where there is a molecule, in a map with voxels of 1 Å."""
    return np.asarray(scipy.ndimage.gaussian_filter(truth, SUPPORT_ANGSTROM) > SUPPORT_LEVEL)


def degraded(truth: Array, number: int) -> Iterator[tuple[str, Known, Mask]]:
    """Yield a map under each condition: its resolution runs from one value to another along an axis."""
    mask, look = support(truth), Look(1.0)
    first, last = _PAIRS_ANGSTROM[number % len(_PAIRS_ANGSTROM)]
    levels = 1.0 / np.linspace(1 / first, 1 / last, 5)
    where = np.flatnonzero(mask.any(axis=(1, 2)))
    place = np.clip((np.arange(len(truth)) - where[0]) / max(where[-1] - where[0], 1), 0, 1) * (len(levels) - 1)
    shares = [np.maximum(1 - np.abs(place - i), 0).astype(np.float32)[:, None, None] for i in range(len(levels))]
    frequencies = np.linspace(0, 0.5, 501)
    for condition, (level, b, masked) in CONDITIONS.items():
        damping = np.exp(-b * frequencies**2 / 4)
        seen = [look.of(raised_cosine(r) * damping) for r in levels]
        resolution = 1.0 / sum(share / s for share, s in zip(shares, seen, strict=True))
        signal = np.sum([low_pass(truth * share, r) for share, r in zip(shares, levels, strict=True)], axis=0)
        rng = np.random.default_rng(number)
        noises = rng.normal(0, level * signal[mask].std() * np.sqrt(2), (2, *truth.shape))
        halves = [sharpened(signal + noise, b, 1.0) for noise in noises]
        if masked:
            soft = np.clip(scipy.ndimage.gaussian_filter(mask.astype(np.float32), 2.0) * 3, 0, 1)
            halves = [half * soft for half in halves]
        resolution = np.where(mask, resolution, 0).astype(np.float32)
        yield condition, Known((halves[0], halves[1]), resolution, 1.0), mask


def told_by(
    method: str, volume: Array, mask: npt.NDArray[Any], pixel_size: float, other: Array | None = None, **given: str
) -> LocalResolution | str:
    """Return what a method tells of a map, or the sentence with which it refuses."""
    plugin = load(method, LOCAL_RESOLUTION_GROUP)
    settings = read_settings(plugin.settings_type, {name.replace("_", "-"): v for name, v in given.items()}, method)
    half = None if other is None else HalfMap(other, pixel_size)
    context = Context(settings=settings, mask=mask.astype(np.float32), other_half=half, compute=cpu(1))
    try:
        answer: LocalResolution = plugin.estimate(HalfMap(volume, pixel_size), context)
    except RegularizerError as error:
        return str(error)
    return answer


def windowed_fsc(first: Array, second: Array, pixel_size: float) -> Array:
    """Return where the FSC of both halves under a Gaussian window falls under 1/2, Å, in the manner of blocres.

    Shells are of the width that the window can tell apart; between two of them the crossing is interpolated.
    """
    box = len(first)
    frequency = radius(box)
    window = np.exp(-2 * (np.pi * _FSC_WINDOW_ANGSTROM / pixel_size * frequency) ** 2)
    spectra = [scipy.fft.rfftn(half) for half in (first, second)]
    step = 0.5 / (2 * np.pi * _FSC_WINDOW_ANGSTROM / pixel_size) * 1.5
    centres = np.arange(step, 0.5, step)
    found = np.full(first.shape, np.nan, dtype=np.float32)
    before, last = np.ones_like(first), 0.0
    for centre in centres:
        band = np.clip(1 - np.abs(frequency - centre) / step, 0, 1)
        one, two = (scipy.fft.irfftn(s * band, s=first.shape) for s in spectra)
        cross, left, right = (filtered(product, window) for product in (one * two, one * one, two * two))
        fsc = cross / np.sqrt(np.maximum(left * right, 1e-20))
        crossing = np.isnan(found) & (fsc < _FSC_THRESHOLD)
        part = (before - _FSC_THRESHOLD) / np.maximum(before - fsc, 1e-3)
        found[crossing] = (last + np.clip(part, 0, 1) * (centre - last))[crossing]
        before, last = fsc, centre
    return np.asarray(pixel_size / np.maximum(np.where(np.isnan(found), 0.5, found), 0.02), dtype=np.float32)


def scores(truth: Array, found: Array) -> dict[str, float]:
    """Return mean absolute error, bias (Å), and rank correlation over the voxels that both have."""
    both = (truth > 0) & (found > 0)
    right, ours = truth[both].astype(np.float64), found[both].astype(np.float64)
    told = {"error": float(np.abs(ours - right).mean()), "bias": float((ours - right).mean())}
    step = max(len(right) // 20000, 1)
    told["rank"] = float(spearmanr(right[::step], ours[::step]).statistic)
    return {
        **{key: round(value, 3) for key, value in told.items()},
        "told": round(float(both.sum() / (truth > 0).sum()), 3),
    }
