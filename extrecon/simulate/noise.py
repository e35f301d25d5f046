"""Gaussian noise for images: white, or coloured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def gaussian_noise(
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    correlation_px: float = 0.0,
) -> FloatArray:
    """Return noise of mean 0 and standard deviation 1, (images, n, n).

    Parameters
    ----------
    correlation_px : 0 for white noise; else the power spectrum falls as 1 / (1 + (2π f ξ)²), f in 1/px, ξ this
        length in px: the spectrum of noise whose correlation decays over ξ
    """
    white = rng.standard_normal(shape)
    if correlation_px <= 0:
        return white
    n = shape[-1]
    squared = np.fft.fftfreq(n)[:, None] ** 2 + np.fft.rfftfreq(n) ** 2
    power = 1 / (1 + (2 * np.pi * correlation_px) ** 2 * squared)
    full = 1 / (1 + (2 * np.pi * correlation_px) ** 2 * (np.fft.fftfreq(n)[:, None] ** 2 + np.fft.fftfreq(n) ** 2))
    return np.fft.irfft2(np.fft.rfft2(white) * np.sqrt(power / full.mean()), s=(n, n))
