"""FSC-Q against closed forms: signal and noise of known power, models that are off."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from extrecon.errors import UsageError
from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import soft_sphere
from extrecon.validate.fsc import fsc, shell_radius
from extrecon.validate.fsc_q import LocalResolutions, fsc_q, local_resolutions
from extrecon.validate.local_fsc import bands_for, local_correlations
from extrecon.validate.local_resolution import median_local_resolution, usual_window

BOX, PIXEL, WINDOW = 64, 2.0, 40.0
EVERYWHERE = np.ones((BOX,) * 3)
FALL = 0.0125
"""The signal's power is exp(-FALL · shell²) times that of the noise in a half-map."""


def field(rng: np.random.Generator, fall: float = 0.0) -> np.ndarray:
    """Return a Gaussian random field of power exp(-fall · shell²), alike everywhere in the box."""
    spectrum = np.fft.rfftn(rng.standard_normal((BOX,) * 3)) * np.exp(-0.5 * fall * shell_radius(BOX) ** 2)
    return np.fft.irfftn(spectrum, s=(BOX,) * 3, axes=(0, 1, 2))


def halves_of(signal: np.ndarray, rng: np.random.Generator, ratio: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the signal twice, its power ``ratio`` times the noise's at the origin."""
    first, second = (signal * np.sqrt(ratio) + rng.standard_normal(signal.shape) for _ in "12")
    return first, second


def resolution_where(half_map_fsc: float, ratio: float = 8.0) -> float:
    """Return where FSC = S / (S + N) is so much, Å."""
    wanted = half_map_fsc / (1 - half_map_fsc)
    return float(BOX * PIXEL / np.sqrt(np.log(ratio / wanted) / FALL))


def test_a_perfect_model_gets_what_the_signal_to_noise_ratio_says() -> None:
    rng = np.random.default_rng(1)
    signal = field(rng, FALL)
    halves = halves_of(signal, rng)
    found = local_resolutions((halves[0] + halves[1]) / 2, signal, halves, PIXEL, WINDOW)
    # The map's FSC with the truth is √(2F / (1 + F)), which is 0.67 at F = 0.67² / (2 − 0.67²).
    expected = {"halves": resolution_where(0.5), "model": resolution_where(0.67**2 / (2 - 0.67**2))}
    assert np.median(found.halves_angstrom) == pytest.approx(expected["halves"], rel=0.03)
    assert np.median(found.model_angstrom) == pytest.approx(expected["model"], rel=0.03)
    assert np.median(found.fsc_q) == pytest.approx(expected["model"] - expected["halves"], abs=0.4)
    assert np.median(found.fsc_q_relative) == pytest.approx(expected["model"] / expected["halves"] - 1, abs=0.04)


def test_the_median_local_resolution_is_what_the_signal_to_noise_ratio_says_inside_the_mask() -> None:
    rng = np.random.default_rng(8)
    signal = field(rng, FALL)
    halves = halves_of(signal, rng)
    upper = np.zeros((BOX,) * 3)
    upper[BOX // 2 + 8 : -8] = 1.0
    noise = (field(rng), field(rng))  # below, nothing agrees
    mixed = (np.where(upper > 0, halves[0], noise[0]), np.where(upper > 0, halves[1], noise[1]))
    expected = resolution_where(0.5)
    assert median_local_resolution(halves, EVERYWHERE, PIXEL, WINDOW) == pytest.approx(expected, rel=0.04)
    assert median_local_resolution(mixed, upper, PIXEL, WINDOW / 2) == pytest.approx(expected, rel=0.15)
    assert median_local_resolution(mixed, 1 - upper, PIXEL, WINDOW) == pytest.approx(WINDOW, rel=0.2)
    assert np.isnan(median_local_resolution(halves, 0 * upper, PIXEL, WINDOW))


def test_the_half_maps_may_be_swapped_and_a_map_against_itself_is_at_nyquist() -> None:
    rng = np.random.default_rng(2)
    signal = field(rng, FALL)
    first, second = halves_of(signal, rng)
    found = [
        local_resolutions((first + second) / 2, signal, pair, PIXEL, WINDOW).fsc_q
        for pair in ((first, second), (second, first))
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    same = local_resolutions(first, first, (first, first), PIXEL, WINDOW)
    assert same.model_angstrom == pytest.approx(2 * PIXEL)
    assert same.fsc_q == pytest.approx(0.0)


def test_a_part_that_the_map_lacks_or_shows_elsewhere_is_not_supported() -> None:
    rng = np.random.default_rng(3)
    signal = field(rng, FALL)
    halves = halves_of(signal, rng)
    lower, upper = np.s_[8:24], np.s_[40:56]  # planes well inside each half of the box
    displaced = signal.copy()
    displaced[: BOX // 2] = np.roll(signal, 4, axis=2)[: BOX // 2]
    absent = signal.copy()
    absent[: BOX // 2] = field(rng, FALL)[: BOX // 2]
    whole = (halves[0] + halves[1]) / 2
    for model in (displaced, absent):
        local = local_resolutions(whole, model, halves, PIXEL, WINDOW)
        values = local.volume(local.fsc_q)
        assert np.percentile(values[lower], 5) > 5.0
        assert np.median(values[upper]) < 0.5


def test_a_model_that_follows_the_maps_noise_is_below_a_true_one() -> None:
    rng = np.random.default_rng(4)
    signal = field(rng, FALL)
    halves = halves_of(signal, rng)
    whole = (halves[0] + halves[1]) / 2
    true, fitted = (local_resolutions(whole, model, halves, PIXEL, WINDOW).fsc_q for model in (signal, whole))
    assert np.median(fitted) < np.median(true) < 0


def test_the_local_fsc_is_that_of_windowed_maps() -> None:
    rng = np.random.default_rng(5)
    signal = field(rng, FALL)
    first, second = halves_of(signal, rng)
    bands = bands_for(BOX, WINDOW / PIXEL, BOX // 2)
    spectra = [np.fft.rfftn(each).astype(np.complex64) for each in (first, second)]
    curves = np.array([band[0] for band in local_correlations(spectra, [(0, 1)], bands, cpu(1))])
    axis = np.arange(BOX) - BOX // 2
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    window = np.exp(-squared / (4 * bands.window_px**2 / 12))  # its square has the variance w² / 12
    middle = bands.lattice // 2
    assert middle * BOX / bands.lattice == BOX // 2
    beyond = shell_radius(BOX)[None] - bands.centres[:, None, None, None]
    weight = np.cos(0.5 * np.pi * np.clip(np.abs(beyond) / bands.width, 0, 1)) ** 2
    weight *= np.where((np.arange(BOX // 2 + 1) % (BOX // 2)) == 0, 1, 2)
    one, two = (np.fft.rfftn(each * window) for each in (first, second))
    cross, powers = (
        (weight * (one * two.conj()).real).sum((1, 2, 3)),
        [(weight * np.abs(each) ** 2).sum((1, 2, 3)) for each in (one, two)],
    )
    assert curves[:, middle, middle, middle] == pytest.approx(cross / np.sqrt(powers[0] * powers[1]), abs=0.06)


def structure_at(places: list[tuple[float, float, float]]) -> gemmi.Structure:
    found, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
    for index, place in enumerate(places):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(index // 2 + 1))
        for element in ("C", "H"):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = element, gemmi.Element(element), gemmi.Position(*place)
            residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    found.add_model(model)
    return found


def test_atoms_are_read_at_their_places_in_x_y_z() -> None:
    edge = BOX * PIXEL
    axis = np.linspace(0, edge, 32, endpoint=False)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    local = LocalResolutions(10 + x + 100 * y + 10000 * z, np.full(x.shape, 10.0), BOX, PIXEL, WINDOW)
    places = np.array([[5.0, 17.0, 60.0], [-1.0, 5.0, 5.0]])
    found = local.at(local.fsc_q, places)
    assert found[0] == pytest.approx(5 + 1700 + 600000)
    assert np.isnan(found[1])
    assert local.volume(local.fsc_q)[30, 10, 4] == pytest.approx(4 * PIXEL + 100 * 10 * PIXEL + 10000 * 30 * PIXEL)


def test_residues_and_shares_are_those_of_the_atoms() -> None:
    rng = np.random.default_rng(6)
    signal = field(rng, FALL)
    halves = halves_of(signal, rng)
    model = signal.copy()
    model[: BOX // 2] = field(rng, FALL)[: BOX // 2]
    whole = (halves[0] + halves[1]) / 2
    # Two atoms a residue; the first residue stands in the part that the map does not show, the last out of the box.
    places = [(60.0, 60.0, 30.0), (64.0, 60.0, 30.0), (60.0, 60.0, 96.0), (64.0, 60.0, 96.0), (-9.0, 0.0, 0.0)]
    scored = fsc_q(structure_at(places), model, whole, halves, EVERYWHERE, PIXEL, WINDOW)
    assert len(scored.atoms) == 5
    (_, _, low), (_, _, high), (_, _, outside) = scored.residues()
    assert low == pytest.approx(scored.values_angstrom[:2].mean())
    assert low > 5 > high
    assert np.isnan(outside)
    told = scored.summary()
    assert told["share_above"] == pytest.approx(0.5)
    assert told["share_above"] + told["share_below"] + told["share_within"] == pytest.approx(1)
    assert told["mean_angstrom"] == pytest.approx(np.nanmean(scored.values_angstrom))


def test_the_window_follows_the_half_maps_resolution() -> None:
    rng = np.random.default_rng(7)
    signal = field(rng, FALL)
    halves = halves_of(signal, rng)
    resolution = BOX * PIXEL / (np.flatnonzero(fsc(*halves)[1:] < 0.5)[0])
    assert usual_window(halves, EVERYWHERE, PIXEL) == pytest.approx(min(5 * resolution, BOX * PIXEL / 2))
    noise = (field(rng), field(rng))
    assert usual_window(noise, soft_sphere(BOX, 20.0), PIXEL) == BOX * PIXEL / 2
    with pytest.raises(UsageError, match="above 0 Å, not -3"):
        fsc_q(structure_at([(1, 1, 1)]), signal, signal, halves, EVERYWHERE, PIXEL, -3.0)
