"""The network as it is trained: with batch normalisation after each convolution, which is folded away in the end.

Without it the wide 3D convolutions leave the path at any useful learning rate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from extrecon_regularizers.deepres.network import INPUTS, OUTPUTS, BandLayers, ResolutionNetwork
from extrecon_regularizers.deepres.windows import BANDS

_MOMENTUM = 0.03
_BRANCH_SCALE = 0.3


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.first_norm = nn.BatchNorm3d(width, momentum=_MOMENTUM)
        self.condition = nn.Linear(1, width)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        self.second_norm = nn.BatchNorm3d(width, momentum=_MOMENTUM)
        nn.init.constant_(self.second_norm.weight, _BRANCH_SCALE)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        inner = self.first_norm(self.first(functional.relu(x))) + self.condition(condition)[:, :, None, None, None]
        out: Tensor = x + self.second_norm(self.second(functional.relu(inner)))
        return out


class TrainedNetwork(nn.Module):
    """`ResolutionNetwork` with normalisation; the same names for the same convolutions."""

    def __init__(self, widths: tuple[int, int, int], blocks: tuple[int, int, int]) -> None:
        super().__init__()
        voxel, fine, coarse = widths
        self.enter = nn.Conv3d(INPUTS, voxel, 3, padding=1)
        self.enter_norm = nn.BatchNorm3d(voxel, momentum=_MOMENTUM)
        self.halve = nn.Conv3d(voxel, fine, 4, stride=2, padding=1)
        self.halve_norm = nn.BatchNorm3d(fine, momentum=_MOMENTUM)
        self.bands = nn.Conv3d(BANDS, fine, 1)
        self.bands_norm = nn.BatchNorm3d(fine, momentum=_MOMENTUM)
        nn.init.constant_(self.bands_norm.weight, _BRANCH_SCALE)
        self.spectrum = BandLayers(fine)
        self.fine = nn.ModuleList(_Residual(fine) for _ in range(blocks[0]))
        self.shrink = nn.Conv3d(fine, coarse, 2, stride=2)
        self.shrink_norm = nn.BatchNorm3d(coarse, momentum=_MOMENTUM)
        self.coarse = nn.ModuleList(_Residual(coarse) for _ in range(blocks[1]))
        self.grow = nn.ConvTranspose3d(coarse, fine, 2, stride=2)
        self.grow_norm = nn.BatchNorm3d(fine, momentum=_MOMENTUM)
        self.out = nn.ModuleList(_Residual(fine) for _ in range(blocks[2]))
        self.leave = nn.Conv3d(fine, OUTPUTS, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, windows: Tensor, bands: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `ResolutionNetwork` does."""
        x = self.halve_norm(self.halve(functional.relu(self.enter_norm(self.enter(windows)))))
        early, late = self.spectrum(bands, condition)
        x = x + self.bands_norm(self.bands(bands)) + early
        for block in self.fine:
            x = block(x, condition)
        wide = self.shrink_norm(self.shrink(x))
        for block in self.coarse:
            wide = block(wide, condition)
        x = x + self.grow_norm(self.grow(wide)) + late
        for block in self.out:
            x = block(x, condition)
        told = self.leave(functional.relu(x))
        return told[:, 0], told[:, 1]

    @torch.no_grad()
    def folded(self) -> ResolutionNetwork:
        """Return the network with each normalisation drawn into the convolution before it."""
        state = {name: value.clone() for name, value in self.state_dict().items()}
        for name in [name.removesuffix("_norm.weight") for name in state if name.endswith("_norm.weight")]:
            norm = {
                key: state.pop(f"{name}_norm.{key}") for key in ("weight", "bias", "running_mean", "running_var")
            }
            del state[f"{name}_norm.num_batches_tracked"]
            gain = norm["weight"] / torch.sqrt(norm["running_var"] + 1e-5)
            across = (1, -1) if name == "grow" else (-1, 1)  # transposed convolutions have their outputs second
            state[f"{name}.weight"] *= gain.reshape(*across, 1, 1, 1)
            state[f"{name}.bias"] = (state[f"{name}.bias"] - norm["running_mean"]) * gain + norm["bias"]
        network = ResolutionNetwork()
        network.load_state_dict(state)
        return network.eval()
