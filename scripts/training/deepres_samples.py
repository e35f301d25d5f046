"""What DeepRes learns from: maps of many looks, and for each voxel the resolution that it looks like.

The label. A molecule at rest, low-passed to R by a raised cosine of 0.02 per voxel, looks like R: that is the
definition of Ramírez-Aportela et al. (2019). A map whose Fourier components are weighted otherwise, by a B factor,
a sharpening or a soft fall, looks like the low-passed map whose squared gradient is the same part of its variance:
whose mean squared frequency, weighted by power, is the same. Power is here that of carbon atoms placed at random.
Blurred maps so look coarser, oversharpened ones finer than where they end. Only the molecule's own components
count; noise, and components whose phases are random, do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt
import scipy.fft

from extrecon_regularizers.deepres.units import COARSEST_VOXELS, FINEST_VOXELS
from extrecon_regularizers.deepres.windows import Inputs, look_at

Array = npt.NDArray[np.float32]
Curve = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.uint8]
Spectrum = npt.NDArray[np.complexfloating]

BOX, CROP = 64, 48
EDGE = 0.02
"""Width of the raised cosine, cycles a voxel."""

VOXELS_ANGSTROM = (1.0, 0.5)
RANGES_ANGSTROM = {1.0: (2.3, 13.6), 0.5: (1.45, 6.4)}
_SHARE_COARSE = 0.65
_FREQUENCY = np.linspace(0.0, 0.5, 501)
_RIM = 4
_POOL, _CROPS_OF_A_MAP = 32, 2
SUPPORT_ANGSTROM = 2.0
SUPPORT_LEVEL = 0.04  # Å⁻²; the inside of a protein, smoothed by so much, has 0.08 to 0.15
_LEAST_SUPPORT = 0.04
_STRONGEST_SHARPENING = 3.0
_PURE_SHARE = 0.55  # of the maps: those of the definition itself, with noise of the two kinds it is tested with
_SHARPENED_SHARE = 0.2  # of the maps: blurred, noised, then sharpened by a B factor, as post-processing does
_PURE_NOISE = (0.0, 0.16)  # Å⁻²; the paper's maps have 0.08
_PURE_PHASES = (0.25, 1.0)  # of the molecule's amplitudes: about a small one in a large box they are spread thin
_MOST_PIECES = 8  # in a cube
_CHAINS_SHARE = 0.6  # of the maps in pieces of a cube that holds several chains: the pieces are the chains
_PURE_LENGTH_ANGSTROM = (8.0, 40.0)  # of regions: up to those of a protein's chains
_LENGTH_ANGSTROM = (8.0, 22.0)
_BLURRED_BY, _B_FACTOR_LEFT = (0.0, 120.0), (-110.0, 60.0)  # Å²
_NOISE_BEFORE_SHARPENING = (0.01, 0.25)  # deviations of the signal
_MOST_NOISE, _MOST_NOISE_CUT_OFF = 3.0, 12.0  # deviations of the signal; the latter if low-passed with the map
_MOST_AMPLIFIED = 5.0  # logarithm; noise at Nyquist, by a sharpening that is meant for a coarse map


@dataclass(frozen=True)
class Sample:
    """What the network is shown; (m, m, m) resolution in voxels, and weight, 0 where not counted; voxel, Å."""

    inputs: Inputs
    voxels: Array
    weight: Array
    voxel_angstrom: float


class Look:
    """The resolution that a radial gain looks like, on voxels of one size."""

    def __init__(self, voxel_angstrom: float) -> None:
        carbon = gemmi.Element("C").c4322
        stol2 = (_FREQUENCY / voxel_angstrom / 2) ** 2
        self._power = np.array([carbon.calculate_sf(x) for x in stol2]) ** 2 * _FREQUENCY**2
        self._resolutions = 1.0 / np.linspace(1 / 24.0, 1 / FINEST_VOXELS, 600)
        self._moments = np.array([self._moment(raised_cosine(r)) for r in self._resolutions])

    def _moment(self, gain: Curve) -> float:
        weight = gain**2 * self._power
        return float((weight * _FREQUENCY**2).sum() / weight.sum())

    def of(self, gain: Curve) -> float:
        """Return the resolution in voxels of a gain at `_FREQUENCY`, within what the network can tell."""
        found = 1.0 / np.interp(self._moment(gain), self._moments, 1.0 / self._resolutions)
        return float(np.clip(found, FINEST_VOXELS, COARSEST_VOXELS))


def raised_cosine(resolution_voxels: float, width: float = EDGE, frequency: Curve = _FREQUENCY) -> Curve:
    """Return a low-pass that is 1 up to the resolution and 0 from ``width`` beyond it, at frequencies a voxel."""
    beyond = np.clip((frequency - 1 / resolution_voxels) / width, 0.0, 1.0)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * beyond))


def _damping(b: float, voxel_angstrom: float) -> Curve:
    """Return what a B factor, Å², does at `_FREQUENCY`; sharpening ends somewhere."""
    return np.asarray(np.exp(np.minimum(-b * (_FREQUENCY / voxel_angstrom) ** 2 / 4, _MOST_AMPLIFIED)))


class Samples:
    """Samples without end from a folder of maps, each degraded anew."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._rng = np.random.default_rng(seed)
        self._looks = {voxel: Look(voxel) for voxel in VOXELS_ANGSTROM}
        full, half = scipy.fft.fftfreq(BOX), scipy.fft.rfftfreq(BOX)
        self._radius = np.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2).astype(np.float32)
        self._index = np.minimum(np.rint(self._radius * 1000), 500).astype(np.int16)
        self._paths: list[Path] = []
        self._drawn = 0

    def __iter__(self) -> Iterator[Sample]:
        """Yield crops out of a pool: each degraded map gives two, which come at different times."""
        pool: list[Sample] = []
        while True:
            while len(pool) < _POOL:
                pool += self._degraded()
            yield pool.pop(int(self._rng.integers(len(pool))))

    def _degraded(self) -> list[Sample]:
        """Return crops of a map; none where too little of it is molecule."""
        if self._drawn % 200 == 0:
            self._paths = sorted(self._folder.glob("[!.]*[0-9].npy"))
        self._drawn += 1
        rng = self._rng
        voxel = 1.0 if rng.random() < _SHARE_COARSE else 0.5
        truth, chains = self._block(voxel)
        spectrum = scipy.fft.rfftn(truth)
        support = self._smooth(spectrum, SUPPORT_ANGSTROM / voxel) > SUPPORT_LEVEL
        if support.mean() < _LEAST_SUPPORT:
            return []
        kind = rng.random()
        if kind < _PURE_SHARE:
            density, label = self._pure(truth, chains, spectrum, voxel)
        elif kind < _PURE_SHARE + _SHARPENED_SHARE:
            density, label = self._post_processed(truth, spectrum, support, voxel)
        else:
            density, label = self._of_any_look(truth, spectrum, support, voxel)
        if not np.isfinite(density).all():
            return []
        weight = support.astype(np.float32)
        inputs = look_at(density)
        return [self._cut(inputs, label, weight, voxel) for _ in range(_CROPS_OF_A_MAP)]

    def _pure(self, truth: Array, chains: Numbers, spectrum: Spectrum, voxel: float) -> tuple[Array, Array]:
        """Return a map of one resolution or several, and its label: pure, but for noise, white or of random phases.

        The molecule is at rest and the filter the definition's: what the map looks like is beyond dispute.
        """
        rng = self._rng
        low, high = (edge / voxel for edge in RANGES_ANGSTROM[voxel])
        drawn = rng.uniform(low, high, int(rng.choice([1, 2, 4], p=[0.4, 0.2, 0.4])))
        gains = [(raised_cosine(r), float(r)) for r in drawn]
        if len(drawn) == 4:
            signal, label = self._by_region(truth, self._pieces(chains, len(gains)), gains)
        else:
            signal, label = self._mixed(truth, spectrum, gains, rng.uniform(*_PURE_LENGTH_ANGSTROM) / voxel)
        if len(drawn) == 1 and rng.random() < 0.5:
            share = float(np.exp(rng.uniform(*np.log(_PURE_PHASES))))
            return signal + self._random_phases(spectrum, 1 / drawn[0], EDGE, share), label
        level = rng.uniform(*_PURE_NOISE)
        return signal + np.float32(level) * rng.standard_normal(truth.shape, dtype=np.float32), label

    def _post_processed(self, truth: Array, spectrum: Spectrum, support: Mask, voxel: float) -> tuple[Array, Array]:
        """Return a map that was blurred, got white noise and was sharpened, and its label: one or two resolutions.

        Half of those with one resolution are low-passed to it at the end, as they should be.
        """
        rng = self._rng
        low, high = (edge / voxel for edge in RANGES_ANGSTROM[voxel])
        drawn = np.exp(rng.uniform(np.log(low), np.log(high), int(rng.choice([1, 2], p=[0.7, 0.3]))))
        left = max(rng.uniform(*_B_FACTOR_LEFT), -_STRONGEST_SHARPENING * 4 * float(drawn.min() * voxel) ** 2)
        sharpening = left - rng.uniform(*_BLURRED_BY)
        seen = _damping(left, voxel)
        gains = [(gain, self._looks[voxel].of(gain)) for gain in (raised_cosine(r) * seen for r in drawn)]
        signal, label = self._mixed(truth, spectrum, gains, rng.uniform(*_LENGTH_ANGSTROM) / voxel)
        before = self._filtered(spectrum, raised_cosine(drawn[0]) * _damping(left - sharpening, voxel))
        level = float(before[support].std() * np.exp(rng.uniform(*np.log(_NOISE_BEFORE_SHARPENING))))
        white = scipy.fft.rfftn(rng.standard_normal((BOX,) * 3, dtype=np.float32) * np.float32(level))
        low_pass = raised_cosine(drawn[0]) if len(drawn) == 1 and rng.random() < 0.5 else None
        deviation = float(signal[support].std())
        return signal + self._amplified(white, _damping(sharpening, voxel), low_pass, deviation), label

    def _of_any_look(self, truth: Array, spectrum: Spectrum, support: Mask, voxel: float) -> tuple[Array, Array]:
        """Return a map that has been filtered, blurred, sharpened, masked and so on, and its label."""
        rng = self._rng
        gains, b = self._gains(voxel)
        signal, label = self._mixed(truth, spectrum, gains, rng.uniform(*_LENGTH_ANGSTROM) / voxel)
        deviation = float(signal[support].std())
        density = signal + self._noise(spectrum, gains[0], deviation, b / voxel**2)
        return self._surrounded(density, support, deviation, voxel), label

    def _pieces(self, chains: Numbers, kinds: int) -> npt.NDArray[np.integer]:
        """Return which of some kinds each voxel is of: in pieces, the chains or what is nearest to some points."""
        rng = self._rng
        if rng.random() < _CHAINS_SHARE and np.ptp(chains) > 0:
            # Of as many chains as there are kinds most have one of their own.
            kind_of_chain = rng.permutation(np.iinfo(chains.dtype).max + 1) % kinds
            return np.asarray(kind_of_chain[chains])
        points = rng.uniform(0, BOX, (int(rng.integers(2, _MOST_PIECES + 1)), 3))
        axis = np.arange(BOX)
        apart = [
            ((axis - z) ** 2)[:, None, None] + ((axis - y) ** 2)[:, None] + (axis - x) ** 2 for z, y, x in points
        ]
        return np.asarray(np.argmin(apart, axis=0) % kinds)

    def _by_region(
        self, truth: Array, which: npt.NDArray[np.integer], gains: list[tuple[Curve, float]]
    ) -> tuple[Array, Array]:
        """Return the sum of regions, ``which`` of whose gains each is filtered with by itself, and its label."""
        signal, label = np.zeros_like(truth), np.empty_like(truth)
        for number in np.unique(which):
            own = which == number
            gain, label[own] = gains[number]
            signal += self._filtered(scipy.fft.rfftn(truth * own), gain)
        return signal, label

    def _random_phases(self, spectrum: Spectrum, cutoff: float, width: float, share: float) -> Array:
        """Return the molecule's components from one frequency to another, with phases drawn at random."""
        rng = self._rng
        white = scipy.fft.rfftn(rng.standard_normal((BOX,) * 3, dtype=np.float32))
        last = rng.uniform(min(cutoff + 0.03, 0.5), 0.5)
        band = raised_cosine(1 / last, width) * (1 - np.clip((_FREQUENCY - cutoff) / EDGE, 0, 1) < 0.5)
        return self._filtered(white / (np.abs(white) + 1e-6) * np.abs(spectrum) * np.float32(share), band)

    def _block(self, voxel: float) -> tuple[Array, Numbers]:
        """Return 64³ voxels of some map, and their chains, laid in one of the 48 ways that keep the grid."""
        rng = self._rng
        path = self._paths[rng.integers(len(self._paths))]
        chains: Numbers = np.load(path.with_name(f"{path.stem}_chains.npy"))
        if voxel == 1.0:
            block = np.load(path.with_name(f"{path.stem}_coarse.npy"))
        else:
            whole = np.load(path, mmap_mode="r")
            middle = (len(whole) - BOX) // 2
            corner = middle + rng.integers(-middle // 2, middle // 2 + 1, 3)
            block = whole[tuple(slice(start, start + BOX) for start in corner)]
            chains = chains[np.ix_(*[np.arange(start, start + BOX) // 2 for start in corner])]
        axes = rng.permutation(3)
        flips = tuple(axis for axis in range(3) if rng.random() < 0.5)
        turned = [np.flip(each.transpose(axes), flips) for each in (block, chains)]
        return np.ascontiguousarray(turned[0], dtype=np.float32), turned[1]

    def _gains(self, voxel: float) -> tuple[list[tuple[Curve, float]], float]:
        """Return one to four radial gains with the resolution in voxels that each looks like, and the B factor."""
        rng = self._rng
        low, high = (edge / voxel for edge in RANGES_ANGSTROM[voxel])
        count = int(rng.choice([1, 2, 4], p=[0.5, 0.3, 0.2]))
        drawn = [self._resolution(low, high) for _ in range(min(count, 2))]
        if count == 4:
            drawn = list(1.0 / np.linspace(1 / drawn[0], 1 / drawn[1], 4))
        b = self._b_factor(min(drawn) * voxel) if rng.random() < 0.55 else 0.0
        width = EDGE if rng.random() < 0.7 else float(rng.uniform(0.01, 0.08))
        found = []
        for resolution in drawn:
            begins = max(1 / resolution - max(width - EDGE, 0.0) / 2, 0.03)
            gain = raised_cosine(1 / begins, width)
            gain = gain * _damping(b, voxel)
            found.append((gain, self._looks[voxel].of(gain)))
        return found, b

    def _resolution(self, low: float, high: float) -> float:
        """Draw a resolution: half of them evenly over it, half over its logarithm."""
        rng = self._rng
        even = rng.uniform(low, high)
        return float(even if rng.random() < 0.5 else np.exp(rng.uniform(np.log(low), np.log(high))))

    def _b_factor(self, finest_angstrom: float) -> float:
        """Draw a B factor, Å²: of any size, or so that it changes the finest components by a given measure."""
        rng = self._rng
        unit = 4 * finest_angstrom**2
        b = rng.uniform(-110.0, 250.0) if rng.random() < 0.5 else unit * rng.uniform(-1.5, 3.5)
        return float(max(b, -_STRONGEST_SHARPENING * unit))

    def _mixed(
        self, truth: Array, spectrum: Spectrum, gains: list[tuple[Curve, float]], length_voxels: float
    ) -> tuple[Array, Array]:
        """Return the signal and its label: regions of some size, each with a gain of its own, abrupt or gradual."""
        rng = self._rng
        if len(gains) == 1:
            return self._filtered(spectrum, gains[0][0]), np.full_like(truth, gains[0][1])
        field = self._field(length_voxels)
        if len(gains) == 2:
            return self._by_region(truth, (field <= rng.normal(0.0, 0.4)).astype(np.intp), gains)
        place = np.clip(1.5 + 1.2 * field, 0.0, 2.999)
        signal, frequency = np.zeros_like(truth), np.zeros_like(truth)
        for number, (gain, told) in enumerate(gains):
            share = np.maximum(1 - np.abs(place - number), 0)
            signal += self._filtered(scipy.fft.rfftn(truth * share), gain)
            frequency += share / np.float32(told)
        return signal, 1.0 / frequency

    def _noise(self, spectrum: Spectrum, gain_and_look: tuple[Curve, float], deviation: float, b: float) -> Array:
        """Return noise: none, white up to some frequency, coloured and filtered as the map, or of random phases.

        ``b`` is the map's B factor, in square voxels.
        """
        gain, cutoff = gain_and_look[0], 1 / gain_and_look[1]
        rng = self._rng
        kind = rng.choice(["none", "white", "coloured", "phases"], p=[0.13, 0.42, 0.25, 0.2])
        if kind == "none":
            return np.zeros((BOX,) * 3, dtype=np.float32)
        if kind == "phases":
            width, share = rng.choice([EDGE, rng.uniform(0.01, 0.06)]), rng.choice([1.0, rng.uniform(0.3, 1.5)])
            return self._random_phases(spectrum, cutoff, width, share)
        white = scipy.fft.rfftn(rng.standard_normal((BOX,) * 3, dtype=np.float32))
        if kind == "white":
            last = 0.6 if rng.random() < 0.5 else rng.uniform(min(cutoff, 0.48), 0.5)
            noise = self._filtered(white, (last >= _FREQUENCY).astype(np.float64), corners=last > 0.5)
            level = (0.02, 3.0)  # the paper's noise of 0.08 is 2 deviations of a protein low-passed to 9 Å
        else:
            finer = rng.choice([0.0, rng.uniform(0.0, 0.15)])
            passed = np.interp(np.maximum(_FREQUENCY - finer, 0.0), _FREQUENCY, gain)
            noise = self._filtered(white, passed * (_FREQUENCY + 0.03) ** rng.uniform(-1.0, 1.0))
            level = (0.02, 0.5)
        wanted = deviation * np.exp(rng.uniform(*np.log(level)))
        noise = noise * np.float32(wanted / (noise.std() + 1e-9))
        if kind == "white" and rng.random() < 0.6:
            noise = self._sharpened(noise, b, cutoff, deviation)
        return np.asarray(noise, dtype=np.float32)

    def _sharpened(self, noise: Array, b: float, cutoff: float, deviation: float) -> Array:
        """Apply to noise the B factor that the map got after it, and perhaps the low-pass of post-processing.

        The molecule's own B factor may have been made good, so that the noise's is lower than the map's.
        """
        rng = self._rng
        if rng.random() < 0.6:
            b -= abs(rng.normal(0.0, 1.5)) * 4 / cutoff**2  # the first factor: logarithm of the gain at the cut-off
        low_pass = raised_cosine(1 / min(cutoff, 0.48)) if rng.random() < 0.5 else None
        return self._amplified(scipy.fft.rfftn(noise), _damping(b, 1.0), low_pass, deviation)

    def _amplified(self, noise: Spectrum, gain: Curve, low_pass: Curve | None, deviation: float) -> Array:
        """Apply a sharpening to noise, and a low-pass; so many of the signal's deviations are the most it gets."""
        is_cut_off = low_pass is not None
        amplified = self._filtered(noise, gain if low_pass is None else gain * low_pass, corners=not is_cut_off)
        highest = (_MOST_NOISE_CUT_OFF if is_cut_off else _MOST_NOISE) * deviation
        return amplified * np.float32(min(1.0, highest / (amplified.std() + 1e-9)))

    def _surrounded(self, density: Array, support: Mask, deviation: float, voxel: float) -> Array:
        """Add what lies around a molecule: water that takes contrast away, a membrane; or cut it off by a mask."""
        rng = self._rng
        inside = scipy.fft.rfftn(support.astype(np.float32))
        if rng.random() < 0.3:
            contrast = rng.uniform(0.0, 0.8) * float(density[support].mean())
            density = density - np.float32(contrast) * self._smooth(inside, rng.uniform(1.5, 4.0) / voxel)
        if rng.random() < 0.08:
            along = np.arange(BOX) - rng.uniform(0.3, 0.7) * BOX
            slab = np.exp(-((along / (rng.uniform(12.0, 18.0) / voxel)) ** 4))
            belt = np.moveaxis(np.broadcast_to(slab, (BOX,) * 3), 2, rng.integers(3)) * (1 - support)
            grain = rng.uniform(0.5, 1.5) + rng.uniform(0.1, 0.5) * self._field(rng.uniform(3.0, 6.0) / voxel)
            belt = self._smooth(scipy.fft.rfftn((belt * grain).astype(np.float32)), 2.0 / voxel)
            density = density + np.float32(deviation * rng.uniform(0.5, 1.5)) * belt
        if rng.random() < 0.4:
            sigma = rng.uniform(1.5, 5.0) / voxel
            mask = self._smooth(inside, sigma)
            low, high = np.sort(rng.uniform(0.005, 0.4, 2))
            rise = np.clip((mask - low) / (high - low + 0.02), 0, 1)
            density = density * (3 * rise**2 - 2 * rise**3).astype(np.float32)
        return density

    def _field(self, length_voxels: float) -> Array:
        """Return a Gaussian random field of mean 0 and deviation 1 that varies over a length."""
        white = scipy.fft.rfftn(self._rng.standard_normal((BOX,) * 3, dtype=np.float32))
        field = self._smooth(white, length_voxels / 2)
        return np.asarray((field - field.mean()) / (field.std() + 1e-9), dtype=np.float32)

    def _filtered(self, spectrum: Spectrum, gain: Curve, *, corners: bool = False) -> Array:
        """Apply a radial gain; beyond Nyquist, in the corners, its last value, or nothing passes."""
        reach = np.append(gain[:-1], gain[-1] if corners else 0.0).astype(np.float32)
        return np.asarray(scipy.fft.irfftn(spectrum * reach[self._index], s=(BOX,) * 3), dtype=np.float32)

    def _smooth(self, spectrum: Spectrum, sigma_voxels: float) -> Array:
        gaussian = np.exp(-2 * (np.pi * sigma_voxels * self._radius) ** 2)
        return np.asarray(scipy.fft.irfftn(spectrum * gaussian, s=(BOX,) * 3), dtype=np.float32)

    def _cut(self, inputs: Inputs, label: Array, weight: Array, voxel: float) -> Sample:
        """Cut a cube out at random; what its faces spoil does not count."""
        corner = 2 * self._rng.integers(0, (BOX - CROP) // 2 + 1, 3)
        cut = tuple(slice(start, start + CROP) for start in corner)
        inner = np.zeros((CROP,) * 3, dtype=np.float32)
        inner[(slice(_RIM, -_RIM),) * 3] = 1.0
        kept = weight[cut] * inner
        blocks = tuple(slice(start // 2, (start + CROP) // 2) for start in corner)
        shown = Inputs(inputs.windows[(slice(None), *cut)].copy(), inputs.bands[(slice(None), *blocks)].copy())
        return Sample(shown, label[cut].copy(), kept, voxel)
