"""What DeepRes is trained on: which chain a voxel belongs to, however a cube is laid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training.deepres_maps import make_cubes
from training.deepres_samples import BOX, Samples, raised_cosine
from training.particles import Particle

ATOMS = (600, 300, 100)


def three_chains() -> Particle:
    """Balls of atoms that lie apart from each other."""
    rng = np.random.default_rng(1)
    middles = np.array([[-4.0, 0.0, 0.0], [4.0, 3.0, 0.0], [1.0, -5.0, 3.0]])
    chains = np.repeat(np.arange(3), ATOMS)
    ball = rng.standard_normal((len(chains), 3))
    ball *= 2.0 / np.linalg.norm(ball, axis=1, keepdims=True)
    return Particle(["C"] * len(chains), middles[chains] + ball, chains)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube of them."""
    work = tmp_path_factory.mktemp("maps")
    assert make_cubes("TEST", three_chains(), work, 1) == 1
    return work


@pytest.mark.parametrize("voxel_angstrom", [1.0, 0.5])
def test_each_chain_s_voxels_hold_its_density(folder: Path, voxel_angstrom: float) -> None:
    samples = Samples(folder, 2)
    samples._paths = [folder / "TEST_0.npy"]
    for _ in range(12):
        block, chains = samples._block(voxel_angstrom)
        held = np.array([block[chains == number].sum() for number in range(3)])
        assert np.allclose(held / block.sum(), np.array(ATOMS) / sum(ATOMS), atol=0.02)


def test_pieces_are_chains_or_nearest_to_points(folder: Path) -> None:
    samples = Samples(folder, 3)
    chains = np.load(folder / "TEST_0_chains.npy")
    kinds = [samples._pieces(chains, 4) for _ in range(40)]
    whole = [all(np.ptp(kind[chains == number]) == 0 for number in range(3)) for kind in kinds]
    assert 10 < sum(whole) < 35
    assert {int(number) for kind in kinds for number in np.unique(kind)} == {0, 1, 2, 3}
    one = [samples._pieces(np.zeros_like(chains), 4) for _ in range(40)]
    assert sum(np.ptp(kind) == 0 for kind in one) <= 1


def test_regions_that_are_filtered_alike_add_up_to_the_filtered_map(folder: Path) -> None:
    samples = Samples(folder, 4)
    block = np.load(folder / "TEST_0_coarse.npy").astype(np.float32)
    chains = np.load(folder / "TEST_0_chains.npy")
    gain = raised_cosine(4.0)
    found, label = samples._by_region(block, chains, [(gain, 4.0)] * 3)
    whole = samples._filtered(np.fft.rfftn(block), gain)
    assert np.allclose(found, whole, atol=1e-4 * float(np.abs(whole).max()))
    assert label.shape == (BOX,) * 3
    assert np.ptp(label) == 0


def test_chains_are_found_anew_where_maps_exist(folder: Path) -> None:
    before = (folder / "TEST_0.npy").stat().st_mtime_ns
    kept = np.load(folder / "TEST_0_chains.npy")
    (folder / "TEST_0_chains.npy").unlink()
    make_cubes("TEST", three_chains(), folder, 1)
    assert np.array_equal(np.load(folder / "TEST_0_chains.npy"), kept)
    assert (folder / "TEST_0.npy").stat().st_mtime_ns == before
