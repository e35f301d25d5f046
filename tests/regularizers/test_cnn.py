"""The CNN denoiser: what must not matter to it, that it shifts nothing, that it beats a Wiener filter."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
import scipy.ndimage
import torch
from safetensors.torch import save_file

from extrecon.call.alignment import measure_shift
from extrecon.call.safeguards import guard
from extrecon.errors import RegularizerError
from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import particle_mask, soft_sphere
from extrecon.fourier.shells import Shells, fourier_shell_correlation, power
from extrecon.maps import HalfMap
from extrecon.regularizer import Context, load
from extrecon.settings import Setting, read_settings
from extrecon_regularizers.cnn import weights
from extrecon_regularizers.cnn.apply import OVERLAP, apply_in_turns, apply_network, tile_weight, tiles
from extrecon_regularizers.cnn.directions import turns
from extrecon_regularizers.cnn.network import Denoiser, count_weights, to_channels, to_voxels
from extrecon_regularizers.cnn.reach import held_to_reach
from extrecon_regularizers.cnn.regularizer import Cnn, CnnSettings, share_of_signal
from extrecon_regularizers.cnn.resample import resampled
from extrecon_regularizers.cnn.standardise import (
    LARGEST_TILE,
    resolution,
    solvent_level,
    standardise,
    without_corners,
    working_box,
)
from extrecon_regularizers.networks.weights import folder
from tests.regularizers.treated import treated

Volume = npt.NDArray[np.float32]
Curve = npt.NDArray[np.float64]

CASE = Path(__file__).parent / "data" / "denoiser_case.npz"
STORED_CORRELATION = 0.9509


class Case:
    """A half-map of 1HE8, reconstructed from simulated particles whose angles are wrong by 2° about each axis."""

    def __init__(self) -> None:
        with np.load(CASE) as held:
            self.half = held["half"].astype(np.float32)
            self.truth = held["truth"].astype(np.float32)
            self.fsc: Curve = held["fsc"]
            self.pixel_size = float(held["pixel_size"])
        self.shells = Shells(len(self.half), cpu(1))

    def correlation(self, density: npt.NDArray[np.floating]) -> Curve:
        """Return the FSC with the truth."""
        return fourier_shell_correlation(
            self.shells.spectrum(density), self.shells.spectrum(self.truth), self.shells
        )

    def mean_correlation(self, density: npt.NDArray[np.floating]) -> float:
        """Return its mean over the shells to the resolution."""
        last = int(len(self.half) * self.pixel_size / resolution(self.fsc, len(self.half), self.pixel_size))
        return float(self.correlation(density)[1 : last + 1].mean())

    def context(self, given: dict[str, Setting] | None = None, *, inside: bool = False) -> Context:
        settings = read_settings(Cnn.settings_type, given or {}, "cnn")
        return Context(settings, half_map_fsc=self.fsc, inside_refinement=inside, compute=cpu(1))

    def regularized(
        self, density: Volume, given: dict[str, Setting] | None = None, *, inside: bool = False
    ) -> Volume:
        half_map = HalfMap(density, self.pixel_size)
        own = {key: value for key, value in (given or {}).items() if key in ("weights", "directions")}
        wishes = {key: str(value) for key, value in (given or {}).items() if key not in own}
        found, _ = treated(Cnn(), half_map, self.context(own, inside=inside), **wishes)
        return np.asarray(found.density, dtype=np.float32)


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def relative(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    return float(np.linalg.norm(first - second) / np.linalg.norm(second))


# --- the network's parts


def test_blocks_become_channels_and_voxels_again() -> None:
    voxels = torch.arange(2 * 3 * 8 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8, 8)
    channels = to_channels(voxels)
    assert channels.shape == (2, 24, 4, 4, 4)
    assert torch.equal(channels[:, :8, 1, 2, 3].flatten(), voxels[:, 0, 2:4, 4:6, 6:8].flatten())
    assert torch.equal(to_voxels(channels), voxels)


def test_an_untrained_network_returns_the_filtered_map() -> None:
    inputs = torch.randn(1, 2, 16, 16, 16)
    density, log_error = Denoiser()(inputs, torch.zeros(1, 2))
    assert torch.equal(density, inputs[:, 0])
    assert torch.equal(log_error, torch.zeros_like(density))


def test_the_shipped_network_is_compact() -> None:
    assert 1_000_000 <= count_weights(Denoiser()) <= 3_000_000


# --- resampling


@pytest.mark.parametrize(("box", "other"), [(32, 48), (33, 48), (40, 40), (32, 56)])
def test_resampling_there_and_back_keeps_the_map(box: int, other: int) -> None:
    spectrum = scipy.fft.rfftn(np.random.default_rng(1).standard_normal((box,) * 3))
    k = np.abs(np.fft.fftfreq(box, 1 / box))
    within = (
        (k[:, None, None] < (box - 1) // 2) & (k[:, None] < (box - 1) // 2) & (k[: box // 2 + 1] < (box - 1) // 2)
    )
    density = scipy.fft.irfftn(spectrum * within, s=(box,) * 3).astype(np.float32)
    assert np.allclose(resampled(resampled(density, other), box), density, atol=1e-5)


@pytest.mark.parametrize(("box", "other"), [(48, 32), (32, 48), (41, 32), (36, 41)])
def test_resampling_keeps_the_middle_in_the_middle(box: int, other: int) -> None:
    axis = (np.arange(box) - box // 2) / box
    ball = np.exp(-(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) * 60).astype(np.float32)
    axis = (np.arange(other) - other // 2) / other
    wanted = np.exp(-(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) * 60)
    assert np.allclose(resampled(ball, other), wanted, atol=2e-3)


def test_the_working_grid_follows_the_resolution() -> None:
    assert working_box(256, 1.0, 8.0) == 96
    assert working_box(64, 2.7, 8.0) == 64
    assert working_box(32, 5.4, 11.0) == 48
    assert working_box(35, 2.0, 4.5) == 40


# --- what must not matter


def test_grey_scale_and_offset_do_not_matter(case: Case) -> None:
    ours = case.regularized(case.half)
    other = case.regularized((1e-4 * case.half + 7e-4).astype(np.float32))
    assert relative((other - other.mean()) * 1e4, ours - ours.mean()) < 2e-3


def test_sharpening_does_not_matter(case: Case) -> None:
    box = len(case.half)
    frequency = np.arange(case.shells.count) / (box * case.pixel_size)
    spectrum = case.shells.spectrum(case.half)
    case.shells.scale(spectrum, np.exp(-80.0 * frequency**2 / 4))
    blurred = case.shells.density(spectrum)
    inputs = [standardise(density, case.fsc, case.pixel_size, cpu(1)).inputs[0] for density in (case.half, blurred)]
    assert relative(inputs[1], inputs[0]) < 0.06


def test_an_empty_margin_does_not_matter(case: Case) -> None:
    box = len(case.half)
    level = solvent_level(case.half)
    wide = np.full((2 * box,) * 3, level, dtype=np.float32)
    middle = slice(box // 2, box // 2 + box)
    wide[middle, middle, middle] = level + without_corners(case.half)
    fsc = np.interp(np.arange(box + 1) / 2, np.arange(len(case.fsc)), case.fsc)
    ours = standardise(case.half, case.fsc, case.pixel_size, cpu(1)).inputs
    theirs = standardise(wide, fsc, case.pixel_size, cpu(1)).inputs
    edge = theirs.shape[1] // 4
    inner = slice(edge, edge + ours.shape[1])
    assert theirs.shape[1] == 2 * ours.shape[1]
    assert relative(theirs[0, inner, inner, inner], ours[0]) < 0.1


def test_tiles_give_what_the_whole_gives(case: Case) -> None:
    standard = standardise(case.half, case.fsc, case.pixel_size, cpu(1))
    big = np.tile(standard.inputs, (1, 2, 2, 2))
    network = weights.load()
    whole, _ = apply_network(network, big, standard.condition, cpu(1))
    tiled, _ = apply_network(network, big, standard.condition, cpu(1), largest_tile=64)
    assert relative(tiled, whole) < 0.02


@pytest.mark.parametrize("box", [24, 160, 168, 200, 256, 320, 512, 800])
def test_tiles_cover_every_voxel_and_are_few(box: int) -> None:
    edge, starts = tiles(box, LARGEST_TILE)
    assert (starts[0], starts[-1]) == (0, box - edge)
    assert edge <= LARGEST_TILE
    assert all(start % 8 == 0 for start in [edge, *starts])
    assert all(first + edge - second >= OVERLAP for first, second in pairwise(starts))
    assert len(starts) == 1 or len(starts) * LARGEST_TILE - (len(starts) - 1) * OVERLAP < box + LARGEST_TILE
    assert (len(starts) * edge / box) ** 3 < 2
    assert tile_weight(edge).min() > 0


# --- directions


def test_turns_are_the_rotations_of_a_cube() -> None:
    grid = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    laid = {turn.applied(grid).tobytes() for turn in turns()}
    assert len(laid) == 24
    assert np.flip(grid, 0).tobytes() not in laid  # a mirror
    assert np.rot90(grid).tobytes() in laid
    assert turns()[0].applied(grid).tobytes() == grid.tobytes()
    assert all(np.array_equal(turn.undone(turn.applied(grid)), grid) for turn in turns())


@pytest.mark.parametrize("size", [4, 12])
def test_the_first_turns_are_a_group(size: int) -> None:
    grid = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    chosen = turns()[:size]
    laid = {turn.applied(grid).tobytes() for turn in chosen}
    assert {a.applied(b.applied(grid)).tobytes() for a in chosen for b in chosen} == laid


def test_in_all_directions_of_a_group_a_turned_map_gives_the_turned_result(case: Case) -> None:
    standard = standardise(case.half, case.fsc, case.pixel_size, cpu(1))
    network, turn = weights.load(), turns()[3]
    first, _ = apply_in_turns(network, standard.inputs, standard.condition, cpu(1), directions=4)
    turned = np.ascontiguousarray(turn.applied(standard.inputs))
    second, _ = apply_in_turns(network, turned, standard.condition, cpu(1), directions=4)
    alone, _ = apply_network(network, turned, standard.condition, cpu(1))
    assert relative(turn.undone(second), first) < 1e-4
    assert relative(turn.undone(alone), first) > 1e-2


def test_more_directions_are_no_worse(case: Case) -> None:
    alone, four = (case.mean_correlation(case.regularized(case.half, {"directions": n})) for n in (1, 4))
    assert four > alone - 0.001


# --- reach


def test_beyond_the_networks_reach_the_half_map_stands(case: Case) -> None:
    shells, rng = case.shells, np.random.default_rng(5)
    ours, theirs = (rng.standard_normal(case.half.shape).astype(np.float32) for _ in range(2))
    last = 12
    held, is_held = held_to_reach(ours, theirs, last, cpu(1))
    mixed = shells.spectrum(held)
    first, second = (fourier_shell_correlation(mixed, shells.spectrum(each), shells) for each in (ours, theirs))
    assert is_held
    assert first[1 : last + 1].min() > 1 - 1e-6
    assert second[last + 2 :].min() > 1 - 1e-6
    whole, is_held = held_to_reach(ours, theirs, shells.count - 2, cpu(1))
    assert not is_held
    assert whole is ours


def test_signal_beyond_the_reach_is_not_lost(case: Case) -> None:
    fsc = np.where(np.arange(case.fsc.size) < 8, case.fsc, 0.12)  # crosses 1/7 early, and stays above chance
    context = Context(CnnSettings(), half_map_fsc=fsc, compute=cpu(1))
    found, _ = treated(Cnn(), HalfMap(case.half, case.pixel_size), context)
    beyond = slice(int(1.4 * 9) + 3, case.shells.count - 1)
    ours, plain = case.correlation(np.asarray(found.density))[beyond], case.correlation(case.half)[beyond]
    assert ours == pytest.approx(plain, abs=1e-3)


# --- shifts


def test_nothing_is_shifted(case: Case) -> None:
    result = case.regularized(case.half)
    shift = measure_shift(case.shells.spectrum(result), case.shells.spectrum(case.truth), cpu(1))
    assert np.linalg.norm(shift) < 0.05


# --- quality, honesty


def test_better_than_the_wiener_filter_on_a_fixed_case(case: Case) -> None:
    plain, ours = case.mean_correlation(case.half), case.mean_correlation(case.regularized(case.half))
    assert ours == pytest.approx(STORED_CORRELATION, abs=0.005)
    assert ours > plain + 0.02  # a filter by shells changes no shell's correlation


def test_inside_refinement_the_result_agrees_better_with_the_truth(case: Case) -> None:
    result = case.regularized(case.half, inside=True)
    guarded = guard(
        result, case.half, half_map_fsc=case.fsc, shell_scale=True, fsc_cutoff=True, bound_gain=True, compute=cpu(1)
    )
    assert case.mean_correlation(guarded.density) > case.mean_correlation(case.half) + 0.02


def test_shells_of_pure_noise_stay_without_signal(case: Case) -> None:
    """Phases are random beyond a shell and the FSC says so: the network may not agree with itself there."""
    cut = 8
    found = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        noise = case.shells.spectrum(rng.standard_normal(case.half.shape, dtype=np.float32))
        signal = case.shells.spectrum(case.truth)
        low = (np.arange(case.shells.count) <= cut).astype(float)
        case.shells.scale(signal, low)
        amount = 0.05 * np.linalg.norm(signal) / np.linalg.norm(noise)
        density = case.shells.density(signal + noise * amount)
        fsc = np.where(low > 0, case.fsc, 0.0)
        context = Context(read_settings(Cnn.settings_type, {}, "cnn"), half_map_fsc=fsc, compute=cpu(1))
        result = treated(Cnn(), HalfMap(density, case.pixel_size), context)[0].density
        guarded = guard(
            result, density, half_map_fsc=fsc, shell_scale=True, fsc_cutoff=True, bound_gain=True, compute=cpu(1)
        )
        found.append(case.shells.spectrum(guarded.density))
    squares = np.abs(found[0]) ** 2
    beyond = case.shells.sums(lambda slab: squares[slab])
    assert beyond[cut + 3 :].sum() < 1e-6 * beyond.sum()


def test_beyond_a_shell_of_random_phases_the_halves_do_not_agree(case: Case) -> None:
    """Without a cut-off, as `extrecon regularize` works: what both halves share may not spread to finer shells."""
    cut, found = 8, []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        signal = case.shells.spectrum(case.truth)
        noise = case.shells.spectrum(rng.standard_normal(case.half.shape, dtype=np.float32))
        rms = [np.sqrt(power(spectrum, case.shells)) for spectrum in (signal, noise)]
        low = (np.arange(case.shells.count) <= cut).astype(float)
        case.shells.scale(signal, low)
        case.shells.scale(noise, (1.0 - low) * rms[0] / np.maximum(rms[1], 1e-9))
        density = case.shells.density(signal + noise)
        context = Context(read_settings(Cnn.settings_type, {}, "cnn"), half_map_fsc=low, compute=cpu(1))
        result, done = treated(Cnn(), HalfMap(density, case.pixel_size), context)
        assert done["last_agreed_shell"] == cut
        found.append(case.shells.spectrum(np.asarray(result.density, dtype=np.float32)))
    agreement = fourier_shell_correlation(found[0], found[1], case.shells)
    assert agreement[1 : cut + 1].min() > 0.95
    assert np.abs(agreement[cut + 2 :]).max() < 0.15
    assert np.abs(agreement[cut + 2 :].mean()) < 0.03


def test_noise_alone_is_refused() -> None:
    noise = np.random.default_rng(1).standard_normal((48,) * 3).astype(np.float32)
    context = Context(read_settings(Cnn.settings_type, {}, "cnn"), half_map_fsc=np.zeros(25), compute=cpu(1))
    with pytest.raises(RegularizerError, match="Fourier shells hold signal"):
        Cnn().regularize(HalfMap(noise, 3.0), context)


def test_the_solvent_tells_the_share_of_signal() -> None:
    rng = np.random.default_rng(2)
    ball = soft_sphere(64, 14.0) * (1 + 2 * rng.standard_normal((64,) * 3))
    density = (ball + 0.3 * rng.standard_normal(ball.shape)).astype(np.float32)
    context = Context(read_settings(Cnn.settings_type, {}, "cnn"), compute=cpu(1))
    share = share_of_signal(HalfMap(density, 3.0), context)
    assert share[1:20].mean() > 0.5
    shells = Shells(64, cpu(1))
    signal = shells.sums(lambda slab: np.abs(shells.spectrum(ball.astype(np.float32))[slab]) ** 2)
    whole = shells.sums(lambda slab: np.abs(shells.spectrum(density)[slab]) ** 2)
    assert np.abs(share[4:30] - np.minimum(signal / whole, 1)[4:30]).mean() < 0.15


def test_confidence_is_high_on_the_particle_and_low_outside(case: Case) -> None:
    result, _ = treated(Cnn(), HalfMap(case.half, case.pixel_size), case.context())
    confidence = result.maps["confidence"]
    inside = case.truth > np.percentile(case.truth, 98)
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    assert confidence[inside].mean() > 2 * confidence[~inside].mean()


def test_voxels_unlike_those_of_the_training_are_told(case: Case) -> None:
    known, coarse = (Cnn().regularize(HalfMap(case.half, size), case.context()) for size in (case.pixel_size, 7.5))
    assert list(known.warnings) == []
    assert "7.5 Å" in coarse.warnings[0]


# --- weights


def test_the_shipped_weights_are_the_ones_the_code_names() -> None:
    assert weights.load().weights.sha256 == weights.SHIPPED_SHA256
    assert weights.SHIPPED_SHA256 in weights.card()


def test_weights_of_ones_own(tmp_path: Path, case: Case) -> None:
    network = Denoiser((8, 16, 16))
    save_file(network.state_dict(), tmp_path / "own.safetensors", metadata={"widths": "8 16 16"})
    result = Cnn().regularize(
        HalfMap(case.half, case.pixel_size), case.context({"weights": str(tmp_path / "own.safetensors")})
    )
    assert result.facts["weights"] == str(tmp_path / "own.safetensors")


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RegularizerError, match="cannot be read"):
        weights.load(str(tmp_path / "none.safetensors"))
    (tmp_path / "text.safetensors").write_text("no weights at all")
    with pytest.raises(RegularizerError, match="holds no weights"):
        weights.load(str(tmp_path / "text.safetensors"))
    for widths in ("8 16 16", "32 64 96", "8 16", ""):
        save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"widths": widths})
        with pytest.raises(RegularizerError, match="holds no weights of the denoiser"):
            weights.load(str(tmp_path / "other.safetensors"))


def test_weights_loaded_ahead_of_time_give_the_same_map(case: Case) -> None:
    prepared = Cnn()
    assert list(prepared.prepare(CnnSettings())) == [folder() / weights.SHIPPED]
    half_map = HalfMap(case.half, case.pixel_size)
    first, second = (each.regularize(half_map, case.context()).density for each in (prepared, Cnn()))
    assert np.array_equal(first, second)


def test_the_regularizer_is_found_by_its_name() -> None:
    assert isinstance(load("cnn"), Cnn)


def test_where_the_halves_agree_fully_the_fsc_blend_keeps_the_half_map(case: Case) -> None:
    sure = Context(CnnSettings(), half_map_fsc=np.ones_like(case.fsc), compute=cpu(1))
    result = treated(Cnn(), HalfMap(case.half, case.pixel_size), sure, blend="fsc")[0].density
    assert relative(result, case.half) < 1e-5


def test_the_solvent_is_flattened_inside_refinement_alone(case: Case) -> None:
    particle = particle_mask(HalfMap(case.truth, case.pixel_size)) > 0
    solvent = (soft_sphere(len(case.half), 15.0) == 1) & ~scipy.ndimage.binary_dilation(particle, iterations=2)
    assert solvent.sum() > 1000
    spread = [float(case.regularized(case.half, inside=inside)[solvent].std()) for inside in (False, True)]
    assert spread[1] < 0.2 * spread[0]  # some of the cut-off's ripple is left


def test_the_confidence_blend_lies_between_both_maps(case: Case) -> None:
    found, done = treated(Cnn(), HalfMap(case.half, case.pixel_size), case.context(), blend="confidence")
    whole = case.regularized(case.half)
    expected = case.half + found.maps["confidence"] * (whole - case.half)
    ours, theirs = (case.shells.spectrum(np.asarray(density, np.float32)) for density in (found.density, expected))
    within = (np.arange(case.shells.count) < done["last_agreed_shell"]).astype(float)
    for spectrum in (ours, theirs):
        case.shells.scale(spectrum, within)
    # Not equal: what stands beyond is exchanged after the blend, and confidence mixes shells.
    assert relative(case.shells.density(ours), case.shells.density(theirs)) < 0.01


def test_the_other_half_is_never_asked(case: Case) -> None:
    other = HalfMap(np.random.default_rng(4).standard_normal(case.half.shape).astype(np.float32), case.pixel_size)
    context = replace(case.context(inside=True), other_half=other)
    beside = treated(Cnn(), HalfMap(case.half, case.pixel_size), context)[0].density
    assert np.array_equal(beside, case.regularized(case.half, inside=True))
