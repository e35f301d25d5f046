"""The spatially varying filter bank against its definition, band by band and voxel by voxel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft

from extrecon.errors import RegularizerError
from extrecon.fourier.block_transform import BlockTransform, radial_table, radially_filtered
from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon.fourier.field_bank import Bands, bank_of_field
from extrecon.fourier.filter_bank import bounding_block

Volume = npt.NDArray[np.float64]


def low_pass_bands() -> Bands:
    """Gaussian low-pass filters, blended by a field that runs from 0 to 3."""
    widths = np.array([0.08, 0.15, 0.25, 0.4])[:, None]

    def weights(field: Volume) -> Volume:
        raw = np.exp(-0.3 * (field[:, None] - np.arange(4)) ** 2)
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))

    return Bands(lambda u: np.exp(-0.5 * (u / widths) ** 2), weights)


def ring_bands() -> Bands:
    """Two band-pass filters that end at 0.2 cycles per voxel."""
    middle = np.array([0.10, 0.15])[:, None]
    return Bands(
        lambda u: np.where(np.abs(u - middle) < 0.05, np.cos(np.pi * (u - middle) / 0.1) ** 2, 0.0),
        lambda field: np.stack([field / 3, 1 - field / 3], axis=1),
    )


def radius_squared(box: int) -> npt.NDArray[np.int64]:
    k = np.abs(np.rint(scipy.fft.fftfreq(box, 1 / box))).astype(np.int64)
    return np.asarray(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None, : box // 2 + 1] ** 2)


def direct(volume: Volume, field: Volume, inside: npt.NDArray[np.bool_], bands: Bands) -> Volume:
    """H v by definition: every band filtered on the whole box, weighted voxel by voxel."""
    box = len(volume)
    u = np.sqrt(radius_squared(box)) / box
    spectrum = scipy.fft.rfftn(volume)
    gains = bands.gains(u.ravel()).reshape(-1, *u.shape)
    weights = bands.weights(field.ravel()).T.reshape(-1, *field.shape)
    total = sum(w * scipy.fft.irfftn(spectrum * g, s=volume.shape) for w, g in zip(weights, gains, strict=True))
    return np.where(inside, total, 0.0)


def case(box: int) -> tuple[Volume, Volume, npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(box)
    volume = rng.standard_normal((box, box, box))
    field = rng.uniform(0.2, 2.9, volume.shape)
    inside = np.zeros(volume.shape, np.bool_)
    inside[2 : box - 4, 3 : box // 2 + 2, 1 : box - 2] = True
    return volume, field, inside & (rng.uniform(size=volume.shape) < 0.8)


@pytest.fixture(params=["cpu1", "cpu2", "torch"])
def compute(request: pytest.FixtureRequest) -> Compute:
    if request.param == "torch":
        return TorchCompute("cpu")
    return cpu(int(request.param[-1]))


@pytest.mark.parametrize("box", [16, 17])
@pytest.mark.parametrize("bands", [low_pass_bands(), ring_bands()], ids=["low-pass", "rings"])
def test_agrees_with_the_definition(box: int, bands: Bands, compute: Compute) -> None:
    volume, field, inside = case(box)
    bank = bank_of_field(compute, field, inside, bands, 1e-9, dtype=np.float64)
    expected = direct(volume, field, inside, bands)[bank.region]
    result = compute.to_numpy(bank.apply(compute.to_device(volume)))
    # Linear interpolation of the factors between 2049 nodes leaves 1e-7.
    assert np.linalg.norm(result - expected) < 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("box", [16, 17])
def test_a_block_counts_as_zero_elsewhere(box: int) -> None:
    volume, field, inside = case(box)
    bank = bank_of_field(cpu(1), field, inside, low_pass_bands(), 1e-9, dtype=np.float64)
    alone = np.zeros_like(volume)
    alone[bank.region] = volume[bank.region]
    np.testing.assert_allclose(bank.apply(volume[bank.region]), bank.apply(alone), atol=1e-12)


@pytest.mark.parametrize("whole_box", [False, True])
def test_adjoint(whole_box: bool, compute: Compute) -> None:
    _, field, inside = case(15)
    bank = bank_of_field(compute, field, inside, ring_bands(), 1e-6, dtype=np.float64, whole_box=whole_box)
    rng = np.random.default_rng(1)
    shape = tuple(part.stop - part.start for part in bank.region)
    x, y = rng.standard_normal(shape), rng.standard_normal(shape)
    forward = compute.to_numpy(bank.apply(compute.to_device(x)))
    backward = compute.to_numpy(bank.adjoint(compute.to_device(y)))
    assert np.vdot(forward, y) == pytest.approx(np.vdot(x, backward), rel=1e-10)
    assert np.linalg.norm(backward - forward) > 0.1 * np.linalg.norm(forward)


def test_linear() -> None:
    volume, field, inside = case(16)
    bank = bank_of_field(cpu(1), field, inside, low_pass_bands(), 1e-6, dtype=np.float64)
    other = volume[::-1].copy()
    together = bank.apply(2.0 * volume - 3.0 * other)
    np.testing.assert_allclose(together, 2.0 * bank.apply(volume) - 3.0 * bank.apply(other), atol=1e-11)


def test_stated_errors_bound_the_truncation() -> None:
    box = 16
    _, field, _ = case(box)
    field[:] = 1.3  # one filter everywhere: its gain at each frequency can be read off a delta's spectrum
    field[0, 0, 0], field[-1, -1, -1] = 0.2, 2.9
    inside = np.ones(field.shape, np.bool_)
    bank = bank_of_field(cpu(1), field, inside, low_pass_bands(), 1e-8, dtype=np.float64)
    delta = np.zeros(field.shape)
    delta[8, 8, 8] = 1.0
    best = scipy.fft.rfftn(bank.apply(delta))
    assert bank.rank <= 4
    assert np.all(np.diff(bank.errors) < 0)
    for terms in range(1, bank.rank):
        error = np.abs(scipy.fft.rfftn(bank.apply(delta, terms)) - best).max()
        assert error <= 1.01 * bank.errors[terms] + 1e-6  # the two odd voxels carry a little of their own
        assert bank.terms_for(float(bank.errors[terms])) == terms
    assert bank.terms_for(0.0) == bank.rank


def test_single_precision_is_close() -> None:
    volume, field, inside = case(16)
    double = bank_of_field(cpu(1), field, inside, low_pass_bands(), 1e-7, dtype=np.float64).apply(volume)
    single = bank_of_field(cpu(1), field, inside, low_pass_bands(), 1e-7).apply(volume.astype(np.float32))
    assert single.dtype == np.float32
    assert np.linalg.norm(single - double) < 1e-6 * np.linalg.norm(double)


def test_kept_and_interpolated_factors_agree() -> None:
    # A bank of more terms than memory allows to keep interpolates them afresh, slab by slab.
    volume, field, inside = case(16)
    bank = bank_of_field(cpu(1), field, inside, low_pass_bands(), 1e-7, dtype=np.float64, whole_box=True)
    assert bank.rank > 2
    first = bank.apply(volume)
    np.testing.assert_allclose(first, direct(volume, field, inside, low_pass_bands()), atol=1e-6)


def test_errors_are_sentences() -> None:
    volume, field, inside = case(8)
    with pytest.raises(RegularizerError, match="holds no voxel"):
        bank_of_field(cpu(1), field, np.zeros_like(inside), low_pass_bands(), 1e-5)
    with pytest.raises(RegularizerError, match=r"\(8, 8, 8\) and \(7, 8, 8\)"):
        bank_of_field(cpu(1), field, inside[1:], low_pass_bands(), 1e-5)
    bank = bank_of_field(cpu(1), field, inside, low_pass_bands(), 1e-5)
    with pytest.raises(RegularizerError, match=r"\(5, 5, 5\)"):
        bank.apply(volume[:5, :5, :5])


@pytest.mark.parametrize("box", [12, 13])
@pytest.mark.parametrize("band", [None, 3])
def test_block_transform_is_the_fft(box: int, band: int | None, compute: Compute) -> None:
    rng = np.random.default_rng(0)
    block = rng.standard_normal((5, 7, 6))
    whole = np.zeros((box, box, box))
    whole[:5, :7, :6] = block
    transform = BlockTransform(compute, box, (5, 7, 6), band)
    spectrum = transform.forward_columns(transform.forward_planes(compute.to_device(block)))
    expected = scipy.fft.rfftn(whole)
    if band is not None:
        rows = [*range(band + 1), *range(box - band, box)]
        expected = expected[rows][:, rows][:, :, : band + 1]
    np.testing.assert_allclose(compute.to_numpy(spectrum), expected, atol=1e-12)
    back = compute.to_numpy(transform.inverse_planes(transform.inverse_columns(spectrum)))
    if band is None:
        np.testing.assert_allclose(back, block, atol=1e-12)


def test_radial_filter_of_a_block() -> None:
    box = 14
    block = np.random.default_rng(2).standard_normal((5, 6, 7))
    whole = np.zeros((box, box, box))
    whole[:5, :6, :7] = block

    def gain(u: Volume) -> Volume:
        return np.where(u < 0.3, 1.0, 0.0)

    expected = scipy.fft.irfftn(
        scipy.fft.rfftn(whole) * radial_table(box, gain)[radius_squared(box)], s=whole.shape
    )
    np.testing.assert_allclose(radially_filtered(block, box, gain, cpu(1)), expected[:5, :6, :7], atol=1e-12)


def test_bounding_block() -> None:
    inside = np.zeros((9, 9, 9), np.bool_)
    inside[2, 3, 4] = inside[5, 3, 8] = True
    assert bounding_block(inside) == (slice(2, 6), slice(3, 4), slice(4, 9))
