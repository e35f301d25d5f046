"""Q-score against its definition, on Gaussian atoms."""

from __future__ import annotations

import numpy as np
import pytest

from extrecon.atoms.scattering import low_pass
from extrecon.validate.q_score import POINTS, RADII_ANGSTROM, q_scores

PIXEL_SIZE, BOX = 0.5, 64


def gaussians(places: np.ndarray, sigma: float) -> np.ndarray:
    axis = np.arange(BOX) * PIXEL_SIZE
    total = np.zeros((BOX, BOX, BOX))
    for x, y, z in places:
        lines = [np.exp(-((axis - middle) ** 2) / (2 * sigma**2)) for middle in (z, y, x)]
        total += lines[0][:, None, None] * lines[1][:, None] * lines[2]
    return total


ONE = np.array([[16.2, 15.9, 16.4]])


def test_an_atom_that_is_the_reference_scores_one() -> None:
    assert q_scores(gaussians(ONE, 0.6), PIXEL_SIZE, ONE)[0] > 0.99
    assert q_scores(-gaussians(ONE, 0.6), PIXEL_SIZE, ONE)[0] < -0.99
    assert q_scores(5 * gaussians(ONE, 0.6) + 3, PIXEL_SIZE, ONE)[0] > 0.99


def test_a_wider_atom_scores_what_the_definition_gives() -> None:
    density = np.exp(-(RADII_ANGSTROM**2) / (2 * 1.2**2))
    reference = np.exp(-(RADII_ANGSTROM**2) / (2 * 0.6**2))
    expected = np.corrcoef(np.repeat(density, POINTS), np.repeat(reference, POINTS))[0, 1]
    assert q_scores(gaussians(ONE, 1.2), PIXEL_SIZE, ONE)[0] == pytest.approx(expected, abs=0.01)


def test_noise_scores_nothing_and_emptiness_zero() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(4, 28, (300, 3))
    assert abs(q_scores(rng.standard_normal((BOX,) * 3), PIXEL_SIZE, places).mean()) < 0.1
    assert q_scores(np.ones((BOX,) * 3), PIXEL_SIZE, ONE)[0] == 0


def test_a_misplaced_atom_scores_less() -> None:
    density = gaussians(ONE, 0.6)
    scores = [q_scores(density, PIXEL_SIZE, ONE + np.array([off, 0, 0]))[0] for off in (0.0, 0.5, 1.0, 2.0)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.1


def test_the_score_falls_with_resolution() -> None:
    rng = np.random.default_rng(1)
    steps = np.stack(np.meshgrid(*[np.arange(6, 27, 4.0)] * 3), -1).reshape(-1, 3)
    places = steps + rng.uniform(-1.2, 1.2, steps.shape)
    density = gaussians(places, 0.6)
    means = [q_scores(low_pass(density, d, PIXEL_SIZE), PIXEL_SIZE, places).mean() for d in (1.5, 2.5, 4.0, 6.0)]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.85
    assert means[-1] < 0.6


def test_points_of_a_neighbour_are_left_out() -> None:
    around = 1.4 * np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]])
    places = ONE + around
    density = gaussians(places, 0.4)
    assert q_scores(density, PIXEL_SIZE, places)[0] > q_scores(density, PIXEL_SIZE, ONE)[0] + 0.05
