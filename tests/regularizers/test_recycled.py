"""A remembered filter bank: the same images within the error, for less work."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon.fourier.field_bank import Bands, bank_of_field
from extrecon.fourier.filter_bank import FilterBank
from extrecon_regularizers.localdeblur.recycled import Recycled, norm

BOX, ERROR = 20, 1e-3
Volume = npt.NDArray[np.float64]
COMPUTES = pytest.mark.parametrize("compute", [cpu(1), TorchCompute("cpu")], ids=["numpy", "torch"])


def bank(compute: Compute) -> FilterBank:
    """Low-pass filters that change from voxel to voxel."""
    widths = np.array([0.06, 0.12, 0.2, 0.3, 0.45])[:, None]

    def weights(field: Volume) -> Volume:
        raw = np.exp(-((field[:, None] - np.arange(5)) ** 2))
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))

    field = np.random.default_rng(2).uniform(0.0, 4.0, (BOX,) * 3)
    inside = np.ones((BOX,) * 3, np.bool_)
    gains = Bands(lambda u: np.exp(-0.5 * (u / widths) ** 2), weights)
    return bank_of_field(compute, field, inside, gains, 1e-9, dtype=np.float64)


def volumes(count: int) -> list[Volume]:
    return list(np.random.default_rng(5).standard_normal((count, BOX, BOX, BOX)))


@COMPUTES
def test_every_image_is_right_within_the_error_of_all_that_it_leans_on(compute: Compute) -> None:
    """Slowly changing volumes, as the rounds of an iteration are."""
    exact = bank(compute)
    recycled = Recycled(exact, ERROR)
    start, change, further = volumes(3)
    for step in range(8):
        volume = compute.to_device(start + 0.3**step * change + 0.1**step * further)
        off = norm(exact, recycled(volume) - exact.apply(volume))
        assert off < 4 * ERROR
    assert recycled.terms_used[-1] < recycled.terms_used[0] <= exact.rank


@COMPUTES
def test_what_is_remembered_costs_one_term(compute: Compute) -> None:
    exact = bank(compute)
    recycled = Recycled(exact, ERROR)
    first, second = (compute.to_device(volume) for volume in volumes(2))
    images = recycled(first), recycled(second)
    found = recycled(2.0 * first - 3.0 * second)
    assert recycled.terms_used[2] == 1
    assert min(recycled.terms_used[:2]) > 1
    assert norm(exact, found - (2.0 * images[0] - 3.0 * images[1])) < 1e-9 * norm(exact, found)


def test_only_the_last_two_are_remembered() -> None:
    recycled = Recycled(bank(cpu(1)), ERROR)
    first, second, third = volumes(3)
    for volume in (first, second, third, first):
        recycled(volume)
    assert recycled.terms_used[3] > 1


def test_nothing_becomes_nothing() -> None:
    recycled = Recycled(bank(cpu(1)), ERROR)
    assert not recycled(np.zeros((BOX,) * 3)).any()
    assert recycled.terms_used == [1]


@COMPUTES
def test_the_norm_is_euclids(compute: Compute) -> None:
    volume = volumes(1)[0]
    assert norm(bank(compute), compute.to_device(volume)) == pytest.approx(np.linalg.norm(volume), rel=1e-12)
