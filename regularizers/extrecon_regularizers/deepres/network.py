"""The network: a small residual 3D U-Net that tells a voxel's resolution from some twenty voxels around it.

The window of Ramírez-Aportela et al. (2019) has 13³ voxels and is moved over the map; here convolutions do the same
for all voxels at once. Detail is looked at on the map's own voxels, then on blocks of 2³ and 4³ of them: local
resolution itself is smooth, so it is told for blocks of 2³. The power of each band of frequencies is given
as well: so few weights would take long to learn what Fourier transforms know. Where a map is the same all around, a
block's bands by themselves tell its resolution best; the rest of the network finds where it is not.

This is what is trained, and what runs on a GPU; a processor runs network.onnx, made from it by
``scripts/make_network_graphs``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from extrecon_regularizers.deepres.windows import BANDS

INPUTS, OUTPUTS = 2, 2

WIDTHS, BLOCKS = (16, 32, 64), (2, 2, 1)
BAND_LAYERS_WIDTH = 96


class Residual(nn.Module):
    """Two convolutions around which the input passes; the grid's condition shifts what is between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.condition = nn.Linear(1, width)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return x plus what was learned about it, (b, width, z, y, x); ``condition`` is (b, 1)."""
        inner = self.first(functional.relu(x)) + self.condition(condition)[:, :, None, None, None]
        out: Tensor = x + self.second(functional.relu(inner))
        return out


class BandLayers(nn.Module):
    """What a block's bands tell by themselves: two hidden layers, and features for two places in the network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(BANDS, BAND_LAYERS_WIDTH, 1)
        self.condition = nn.Linear(1, BAND_LAYERS_WIDTH)
        self.second = nn.Conv3d(BAND_LAYERS_WIDTH, BAND_LAYERS_WIDTH, 1)
        self.leave = nn.Conv3d(BAND_LAYERS_WIDTH, 2 * width, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, bands: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of each block, twice (b, width, z/2, y/2, x/2)."""
        hidden = functional.relu(self.first(bands) + self.condition(condition)[:, :, None, None, None])
        early, late = self.leave(functional.relu(self.second(hidden))).chunk(2, dim=1)
        return early, late


class ResolutionNetwork(nn.Module):
    """Local resolution and its error from a map whose windows have unit norm.

    Parameters
    ----------
    widths : channels on the map's voxels, on blocks of 2³ and of 4³
    blocks : residual blocks on blocks of 2³ on the way in, on those of 4³, and on the way out
    """

    def __init__(self, widths: tuple[int, int, int] = WIDTHS, blocks: tuple[int, int, int] = BLOCKS) -> None:
        super().__init__()
        voxel, fine, coarse = widths
        self.enter = nn.Conv3d(INPUTS, voxel, 3, padding=1)
        self.halve = nn.Conv3d(voxel, fine, 4, stride=2, padding=1)
        self.bands = nn.Conv3d(BANDS, fine, 1)
        self.spectrum = BandLayers(fine)
        self.fine = nn.ModuleList(Residual(fine) for _ in range(blocks[0]))
        self.shrink = nn.Conv3d(fine, coarse, 2, stride=2)
        self.coarse = nn.ModuleList(Residual(coarse) for _ in range(blocks[1]))
        self.grow = nn.ConvTranspose3d(coarse, fine, 2, stride=2)
        self.out = nn.ModuleList(Residual(fine) for _ in range(blocks[2]))
        self.leave = nn.Conv3d(fine, OUTPUTS, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, windows: Tensor, bands: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the resolution in the network's unit and the logarithm of its error, both (b, z/2, y/2, x/2).

        Parameters
        ----------
        windows : (b, 2, z, y, x) see `extrecon_regularizers.deepres.windows`; edges multiples of 4
        bands : (b, 30, z/2, y/2, x/2)
        condition : (b, 1) log2 of 1 Å over the voxel's edge
        """
        early, late = self.spectrum(bands, condition)
        x = self.halve(functional.relu(self.enter(windows))) + self.bands(bands) + early
        for block in self.fine:
            x = block(x, condition)
        wide = self.shrink(x)
        for block in self.coarse:
            wide = block(wide, condition)
        x = x + self.grow(wide) + late
        for block in self.out:
            x = block(x, condition)
        told = self.leave(functional.relu(x))
        return told[:, 0], told[:, 1]


def count_weights(network: nn.Module) -> int:
    """Return the number of weights."""
    return sum(parameter.numel() for parameter in network.parameters())
