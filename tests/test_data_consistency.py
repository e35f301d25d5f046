"""A density weighed against the data: RELION's own map for an empty one, and either side where it must be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.fourier.compute import cpu
from extrecon.fourier.shells import Shells, power
from extrecon.reconstruction import FourierData, Geometry, data_consistent, reconstruct
from tests.jobs import InMemory, accumulators_of, blobs

Volume = npt.NDArray[np.float32]
Curve = npt.NDArray[np.float64]
BOX = 32
SHELLS = Shells(BOX, cpu(1))
TAU2 = 1e-3 * np.exp(-np.arange(BOX // 2 + 1) / 4.0)
RADIUS = np.sqrt(sum(np.square(x) for x in np.meshgrid(*[np.arange(BOX) - BOX // 2] * 3, indexing="ij")))
INSIDE = RADIUS < 0.4 * BOX


def noisy(seed: int = 1, noise: float = 0.05) -> Volume:
    values = blobs(BOX) + noise * np.random.default_rng(seed).standard_normal((BOX,) * 3)
    return np.asarray(values * (RADIUS < 0.45 * BOX), dtype=np.float32)


def smooth_weight(padding: int) -> npt.NDArray[np.float64]:
    """Return weights that fall with the radius and differ threefold between z and the other axes."""
    size = padding * BOX
    full = np.fft.fftfreq(size, 1 / BOX)
    squares = full[:, None, None] ** 2 + full[None, :, None] ** 2 + np.fft.rfftfreq(size, 1 / BOX) ** 2
    tilt = full[:, None, None] ** 2 / np.maximum(squares, 1e-9)
    return np.asarray(2000.0 * np.exp(-squares / 200.0) * (1.0 - 0.67 * tilt))


def data_of(density: Volume, padding: int, tau2: Curve | None, fudge: float = 1.0) -> FourierData:
    accumulators = InMemory(*accumulators_of(density, padding, smooth_weight(padding)))
    return FourierData(accumulators, Geometry(BOX, BOX, float(padding)), tau2, fudge)


def map_of(data: FourierData, tau2: Curve | None, fudge: float = 1.0) -> Volume:
    return reconstruct(data.accumulators, data.geometry, tau2=tau2, tau2_fudge=fudge, compute=cpu(1))


def difference(first: Volume, second: Volume) -> float:
    return float(np.linalg.norm((first - second)[INSIDE]) / np.linalg.norm(second[INSIDE]))


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("before", [None, 20.0 * TAU2])
@pytest.mark.parametrize("fudge", [1.0, 3.0])
def test_an_empty_density_gives_relions_map(padding: int, before: Curve | None, fudge: float) -> None:
    data = data_of(noisy(), padding, before)
    wanted = map_of(data, TAU2, fudge)
    half_map = map_of(data, before)
    assert difference(half_map, wanted) > 0.05  # there is something to be done
    error_power = fudge * TAU2 * float(BOX) ** 4
    found = data_consistent(np.zeros_like(wanted), half_map, data, error_power, cpu(1))
    assert difference(found, wanted) < 0.03


@pytest.mark.parametrize("padding", [1, 2])
def test_it_is_the_reconstruction_with_the_density_among_the_data(padding: int) -> None:
    data = data_of(noisy(), padding, 4.0 * TAU2)
    density = (0.9 * blobs(BOX) + 0.02 * noisy(2)).astype(np.float32)
    # Shell by shell as much weight for the density as 1 / (p³ v) on the padded grid, beside the data's.
    prior, _ = accumulators_of(density, padding)
    size = padding * BOX
    full = np.fft.fftfreq(size, 1 / BOX)
    radius = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + np.fft.rfftfreq(size, 1 / BOX) ** 2)
    shell = np.minimum(np.floor(radius + 0.5).astype(int), BOX // 2)
    trust = 1.0 / (padding**3 * TAU2[shell])
    given = data.accumulators
    assert isinstance(given, InMemory)
    joined = replace(data, accumulators=InMemory(given.data + trust * prior, given.sums))
    wanted = map_of(joined, TAU2)
    found = data_consistent(density, map_of(data, 4.0 * TAU2), data, TAU2 * float(BOX) ** 4, cpu(1))
    assert difference(density, wanted) > 0.05
    assert difference(found, wanted) < 0.03


@pytest.mark.parametrize("padding", [1, 2])
def test_a_density_known_without_error_stands_and_one_known_not_at_all_does_not(padding: int) -> None:
    # What the MAP term has all but erased cannot be brought back to the digit.
    data = data_of(noisy(), padding, 100.0 * TAU2)
    half_map, density = map_of(data, 100.0 * TAU2), blobs(BOX)
    error = np.full(BOX // 2 + 1, 1e-12)
    assert difference(data_consistent(density, half_map, data, error, cpu(1)), density) < 1e-3
    wanted = map_of(data, None)
    found = data_consistent(density, half_map, data, 1e15 * np.ones(BOX // 2 + 1), cpu(1))
    # Gridding of weights without the MAP term works otherwise where they are small.
    ours, theirs = (SHELLS.spectrum(volume * INSIDE.astype(np.float32)) for volume in (found, wanted))
    left = np.sqrt(power(ours - theirs, SHELLS) / power(theirs, SHELLS))
    assert left[:8].max() < 0.04


def test_directions_without_data_follow_the_density_and_no_others() -> None:
    data = data_of(noisy(), 1, None)
    given = data.accumulators
    assert isinstance(given, InMemory)
    full, half = np.fft.fftfreq(BOX, 1 / BOX), np.arange(BOX // 2 + 1)
    radius = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2)
    missing = np.abs(full[:, None, None]) > 0.8 * radius
    given.data[missing], given.sums[missing] = 0.0, 0.0
    half_map, density = map_of(data, None), 0.5 * blobs(BOX)
    error = 0.1 * power(SHELLS.spectrum(density), SHELLS) / SHELLS.points()
    found = data_consistent(density, half_map, data, error, cpu(1))
    footprint = np.sinc(RADIUS / BOX) ** 2
    ours, theirs = (np.fft.rfftn(values * footprint) for values in (found, density))
    within = (radius > 1) & (radius < BOX // 2 - 1)
    assert np.abs(ours - theirs)[missing & within].max() < 1e-3 * np.abs(theirs)[within].max()
    assert np.abs(ours - theirs)[~missing & within].max() > 0.05 * np.abs(theirs)[within].max()


def test_beyond_the_images_reach_the_density_stands_alone() -> None:
    data = data_of(noisy(), 2, None)
    data = replace(data, geometry=replace(data.geometry, current_size=20))
    density = blobs(BOX)
    footprint = (np.sinc(RADIUS / (2 * BOX)) ** 2).astype(np.float32)
    found = data_consistent(density, map_of(data, None), data, np.full(BOX // 2 + 1, 1e9), cpu(1))
    ours, theirs = SHELLS.spectrum(found * footprint), SHELLS.spectrum(density * footprint)
    left = power(ours - theirs, SHELLS) / power(theirs, SHELLS)
    assert left[10:].max() < 1e-8
    assert left[2:9].min() > 1e-3


@pytest.mark.parametrize("padding", [1, 1.5, 2, 3])
def test_the_weights_on_the_maps_grid_are_means_of_the_padded_ones(padding: float) -> None:
    size = round(padding * BOX)
    geometry = Geometry(BOX, BOX, padding)
    full, half = np.fft.fftfreq(size, 1 / size), np.arange(size // 2 + 1)
    slope = np.abs(full[:, None, None]) + 2 * np.abs(full[None, :, None]) + 3 * half + 100.0
    data = FourierData(InMemory(np.zeros(slope.shape, complex), slope), geometry, None, 1.0)
    weight = data.weight()
    assert weight.shape == (BOX, BOX, BOX // 2 + 1)
    # A plane is its own mean, off the planes through the origin where it has an edge.
    assert weight[3, 5, 7] == pytest.approx(padding * (3 + 2 * 5 + 3 * 7) + 100, rel=1e-5)
    assert weight[-3, 5, 7] == pytest.approx(weight[3, -5, 7], rel=1e-5)
    assert weight[3, 5, 7] == pytest.approx(weight[-3, -5, 7], rel=1e-5)
    edge = sum(3 * abs(j) * max(0.0, 1 - abs(j) / padding) for j in range(-3, 4)) / sum(
        max(0.0, 1 - abs(j) / padding) for j in range(-3, 4)
    )
    assert weight[3, 5, 0] == pytest.approx(padding * (3 + 2 * 5) + edge + 100, rel=1e-5)


def test_the_noise_that_the_weights_tell_is_the_noise_of_the_half_map() -> None:
    padding, weight = 2, 50.0
    rng = np.random.default_rng(3)
    shape = (padding * BOX, padding * BOX, padding * BOX // 2 + 1)
    data = np.sqrt(weight / 2) * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    given = FourierData(InMemory(data, np.full(shape, weight)), Geometry(BOX, BOX, padding), None, 1.0)
    found = SHELLS.spectrum(map_of(given, None))
    measured = power(found, SHELLS) / SHELLS.points() / float(BOX) ** 4
    assert given.noise_power()[4:14] == pytest.approx(np.full(10, 1 / (padding**3 * weight)), rel=1e-6)
    # Cutting the padded image down to the map leaves 1 / p³ of it; the footprint's inverse raises it a little.
    assert measured[4:14] == pytest.approx(given.noise_power()[4:14], rel=0.35)
