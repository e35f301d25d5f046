from __future__ import annotations

import numpy as np
import pytest

from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon.fourier.filter_bank import FilterBank, bounding_block
from extrecon.fourier.lattice import Lattice, LatticeFactors


@pytest.fixture(params=["cpu", "torch"])
def compute(request: pytest.FixtureRequest) -> Compute:
    return TorchCompute("cpu") if request.param == "torch" else cpu(1)


def region(box: int) -> np.ndarray:
    inside = np.zeros((box,) * 3, bool)
    inside[3:14, 2:13, 5:17] = np.random.default_rng(1).uniform(size=(11, 11, 12)) < 0.4
    return inside


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_a_linear_field_is_interpolated_exactly(stride: int, compute: Compute) -> None:
    inside = region(20)
    lattice = Lattice(inside, bounding_block(inside), stride)
    z, y, x = np.meshgrid(*lattice.points, indexing="ij")
    field = 1.0 + 2 * z - 3 * y + 0.5 * x
    factors = LatticeFactors(compute, lattice, np.stack([field, -field], axis=-1)[lattice.wanted], inside)
    i, j, k = np.nonzero(inside)
    block = lattice.block
    whole = compute.to_numpy(factors.slab(slice(0, 2), slice(None)))
    found = whole[0][i - block[0].start, j - block[1].start, k - block[2].start]
    np.testing.assert_allclose(found, 1.0 + 2 * i - 3 * j + 0.5 * k, rtol=1e-5)
    np.testing.assert_array_equal(whole[1], -whole[0])
    np.testing.assert_array_equal(compute.to_numpy(factors.slab(slice(1, 2), slice(2, 5))), whole[1:, 2:5])
    assert np.all(whole[0][~inside[block]] == 0)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_only_points_that_matter_are_wanted(stride: int) -> None:
    inside = np.zeros((16,) * 3, bool)
    inside[2, 3, 4] = inside[11, 12, 13] = True
    lattice = Lattice(inside, bounding_block(inside), stride)
    assert lattice.wanted.sum() <= 16
    assert lattice.wanted[0, 0, 0]


def test_a_bank_of_equal_factors_is_a_plain_filter(compute: Compute) -> None:
    box = 18
    inside = region(box)
    lattice = Lattice(inside, bounding_block(inside), 3)
    factors = LatticeFactors(compute, lattice, np.ones((int(lattice.wanted.sum()), 2)), inside)
    squared = np.arange(3 * (box // 2) ** 2 + 1)
    low = np.exp(-squared / 20.0)
    tables = np.stack([low, 1 - low])
    bank = FilterBank(compute, box, lattice.block, factors, tables, np.array([1.0, 1.0, 0.0]))
    volume = np.random.default_rng(0).standard_normal((box,) * 3).astype(np.float32)
    result = compute.to_numpy(bank.apply(compute.to_device(volume)))
    np.testing.assert_allclose(result, (volume * inside)[lattice.block], atol=1e-5)
