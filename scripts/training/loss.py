"""What the denoiser is trained to make small."""

from __future__ import annotations

import torch
from torch import Tensor

from extrecon_regularizers.cnn.apply import ERROR_FLOOR, LARGEST_LOG_ERROR
from extrecon_regularizers.cnn.reach import REACH


class Loss:
    """Squared error, one minus the mean shell correlation, and the Laplace likelihood of the confidence.

    The confidence learns from the error, but the density never from the confidence.
    """

    def __init__(self, crop: int) -> None:
        axis = torch.arange(crop)
        window = torch.sin(torch.pi * (axis + 0.5) / crop).square()
        self._window = (window[:, None, None] * window[:, None] * window).sqrt()
        full, half = torch.fft.fftfreq(crop, 1 / crop), torch.arange(crop // 2 + 1)
        radius = (full[:, None, None] ** 2 + full[:, None] ** 2 + half.float() ** 2).sqrt()
        self._shell = (radius + 0.5).floor().long().clamp(max=crop // 2 + 1).flatten()
        self._shells = crop // 2 + 1

    def __call__(
        self, density: Tensor, log_error: Tensor, truth: Tensor, voxels_per_resolution: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and its parts; all maps are (b, z, y, x)."""
        error = density - truth
        squared = error.square().mean(dim=(1, 2, 3)) / (truth.square().mean(dim=(1, 2, 3)) + 0.01)
        correlation = self._shell_correlation(density, truth)
        reach = REACH * density.shape[-1] / voxels_per_resolution
        counted = (torch.arange(self._shells)[None] <= reach[:, None]).float()
        counted[:, :2] = 0
        shells = ((1 - correlation) * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
        expected = log_error.clamp(max=LARGEST_LOG_ERROR).exp() + ERROR_FLOOR
        confidence = error.detach().abs() / expected + expected.log()
        loss = squared.mean() + 0.5 * shells.mean() + 0.05 * confidence.mean()
        parts = {"squared": squared.mean().item(), "shells": shells.mean().item(), "conf": confidence.mean().item()}
        return loss, parts

    def _shell_correlation(self, first: Tensor, second: Tensor) -> Tensor:
        spectra = [torch.fft.rfftn(volume * self._window, dim=(1, 2, 3)).flatten(1) for volume in (first, second)]
        products = [
            (a.real * b.real + a.imag * b.imag)
            for a, b in ((0, 1), (0, 0), (1, 1))
            for a, b in [(spectra[a], spectra[b])]
        ]
        sums = [
            torch.zeros(len(first), self._shells + 1).index_add(1, self._shell, product)[:, : self._shells]
            for product in products
        ]
        correlation: Tensor = sums[0] / (sums[1] * sums[2] + 1e-12).sqrt()
        return correlation
