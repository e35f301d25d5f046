"""White noise, and signal that is white inside a ball: the signal-to-noise ratio is then the same in every band."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import soft_sphere
from extrecon_regularizers.two_half.local_filter import BandTold, Where, filtered_with, noise_from_other

BOX = 64
RADIUS = 20.0
CPU = cpu(1)
Volume = npt.NDArray[np.float32]


def white(seed: int, box: int = BOX) -> Volume:
    return np.random.default_rng(seed).standard_normal((box,) * 3, dtype=np.float32)


def grainy_ball(signal_power: float, box: int = BOX, radius: float = RADIUS) -> Volume:
    ball: Volume = np.sqrt(np.float32(signal_power)) * white(1000, box) * soft_sphere(box, radius)
    return ball


def halves(signal_power: float, seed: int = 1) -> tuple[Volume, Volume]:
    """Two half-maps of the ball with noise of power 1."""
    ball = grainy_ball(signal_power)
    return ball + white(2 * seed), ball + white(2 * seed + 1)


def filtered(
    half: Volume, other: Volume, where: Where = "particle", window: float = 1.0
) -> tuple[Volume, list[BandTold]]:
    return filtered_with(half, noise_from_other(other, window, where, CPU), window, CPU)
