"""Crops to train on, without end, and whole maps to validate on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import cpu
from extrecon.fourier.shells import Shells, fourier_shell_correlation
from extrecon_regularizers.cnn.standardise import like, standardise
from training.half_maps import Grid, Simulated, drawn_mask, simulate_half_map

Array = npt.NDArray[np.float32]

_POOL = 96
_CROPS_OF_A_MAP = 6
_UNDER_MASK_SHARE = 0.5
_WINDOWS = 4
_REFINED = "refined"  # half-maps reconstructed from simulated particles, as .npz


@dataclass(frozen=True)
class Sample:
    """inputs (2, m, m, m), condition (2,), truth (m, m, m); axes z, y, x."""

    inputs: Array
    condition: Array
    truth: Array


def pixel_size_of(path: Path) -> float:
    """Return the pixel size, Å, that a map's file name ends with."""
    return float(path.stem.rpartition("_")[2])


def prepared(simulated: Simulated) -> Sample:
    """Return a half-map and its truth as the network takes them."""
    compute = cpu(1)
    standard = standardise(simulated.half_map, simulated.fsc, simulated.pixel_size_angstrom, compute)
    return Sample(standard.inputs, standard.condition, like(simulated.truth, standard, compute))


def load_refined(path: Path, rng: np.random.Generator) -> Simulated:
    """Return one of the two halves that a file holds; its FSC is that of the halves, or of what is in a mask."""
    with np.load(path) as held:
        halves, fsc, pixel_size = held["halves"].astype(np.float32), held["fsc"], float(held["pixel_size"])
        truth = held["truth"].astype(np.float32)
    if rng.random() < _UNDER_MASK_SHARE:
        mask, shells = drawn_mask(truth, Grid(len(truth), pixel_size), rng), Shells(len(truth), cpu(1))
        first, second = (shells.spectrum(half * mask) for half in halves)
        fsc = fourier_shell_correlation(first, second, shells)
    return Simulated(halves[rng.integers(2)], truth, fsc, pixel_size)


class Crops:
    """Random crops in random directions from a folder of true maps, degraded anew each time."""

    def __init__(self, work: Path, crop: int, refined_share: float, seed: int) -> None:
        self._work, self._crop, self._refined_share = work, crop, refined_share
        self._rng = np.random.default_rng(seed)
        self._pool: list[Sample] = []
        self._paths: list[Path] = []
        self._refined: list[Path] = []
        self._drawn = 0

    def _list(self) -> None:
        """Look again which maps there are: more may have been made meanwhile."""
        self._paths = sorted((self._work / "training").glob("[!.]*.npy"))
        self._refined = sorted((self._work / _REFINED).glob("[!.]*.npz"))

    def _simulated(self) -> Simulated:
        if self._drawn % 100 == 0:
            self._list()
        self._drawn += 1
        rng = self._rng
        if self._refined and rng.random() < self._refined_share:
            return load_refined(self._refined[rng.integers(len(self._refined))], rng)
        path = self._paths[rng.integers(len(self._paths))]
        truth, under_mask = np.load(path).astype(np.float32), rng.random() < _UNDER_MASK_SHARE
        return simulate_half_map(truth, pixel_size_of(path), rng, under_mask=under_mask)

    def __iter__(self) -> Iterator[Sample]:
        while True:
            while len(self._pool) < _POOL:
                whole = prepared(self._simulated())
                count = _CROPS_OF_A_MAP if len(whole.truth) > self._crop + 8 else 1
                self._pool += [turned(cropped(whole, self._crop, self._rng), self._rng) for _ in range(count)]
            yield self._pool.pop(int(self._rng.integers(len(self._pool))))


def turned(sample: Sample, rng: np.random.Generator) -> Sample:
    """Turn a sample by one of the 24 rotations that keep the grid; handedness stays."""
    inputs, truth = sample.inputs, sample.truth
    for _ in range(3):
        first, second = rng.choice(3, 2, replace=False)
        turns = int(rng.integers(4))
        inputs = np.rot90(inputs, turns, (1 + first, 1 + second))
        truth = np.rot90(truth, turns, (first, second))
    return Sample(np.ascontiguousarray(inputs), sample.condition, np.ascontiguousarray(truth))


def cropped(sample: Sample, crop: int, rng: np.random.Generator) -> Sample:
    """Cut a cube out, of a few random ones the one that holds most of the truth, or one at random."""
    missing = crop - len(sample.truth)
    inputs, truth = sample.inputs, sample.truth
    if missing > 0:
        inputs = np.pad(inputs, [(0, 0)] + [(0, missing)] * 3, mode="wrap")
        truth = np.pad(truth, [(0, missing)] * 3, mode="wrap")
    corners = rng.integers(0, len(truth) - crop + 1, (_WINDOWS if rng.random() < 0.8 else 1, 3))
    best = max(corners, key=lambda c: float(np.abs(truth[tuple(slice(x, x + crop) for x in c)]).sum()))
    cut = tuple(slice(x, x + crop) for x in best)
    return Sample(inputs[(slice(None), *cut)], sample.condition, truth[cut])
