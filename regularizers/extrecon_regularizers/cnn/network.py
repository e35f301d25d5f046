"""The network: a residual 3D U-Net whose finest convolutions work at half resolution.

Ronneberger et al. (2015), Çiçek et al. (2016) for the U-Net; He et al. (2016) for residual blocks. Blocks of 2³
voxels become channels on the way in and voxels again on the way out, so that a voxel costs an eighth.

This is what is trained, and what runs on a GPU; a processor runs network.onnx, made from it by
``scripts/make_network_graphs``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

BLOCK = 2
INPUTS, CONDITIONS, OUTPUTS = 2, 2, 2
WIDTHS, BLOCKS = (32, 64, 96), (2, 2, 2)


def to_channels(voxels: Tensor) -> Tensor:
    """Turn blocks of 2³ voxels into channels: (b, c, z, y, x) to (b, 8 c, z / 2, y / 2, x / 2)."""
    b, c, z, y, x = voxels.shape
    blocks = voxels.reshape(b, c, z // BLOCK, BLOCK, y // BLOCK, BLOCK, x // BLOCK, BLOCK)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * BLOCK**3, z // BLOCK, y // BLOCK, x // BLOCK)


def to_voxels(channels: Tensor) -> Tensor:
    """Undo `to_channels`."""
    b, c, z, y, x = channels.shape
    blocks = channels.reshape(b, c // BLOCK**3, BLOCK, BLOCK, BLOCK, z, y, x)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // BLOCK**3, z * BLOCK, y * BLOCK, x * BLOCK)


class Residual(nn.Module):
    """Two convolutions around which the input passes; the conditions shift what is between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.condition = nn.Linear(CONDITIONS, width)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return x plus what was learned about it, (b, width, z, y, x); ``condition`` is (b, 2)."""
        inner = self.first(functional.silu(x)) + self.condition(condition)[:, :, None, None, None]
        out: Tensor = x + self.second(functional.silu(inner))
        return out


class Denoiser(nn.Module):
    """Density and confidence from a half-map's two filtered versions.

    Parameters
    ----------
    widths : channels at a half, a quarter and an eighth of the resolution
    blocks : residual blocks on the way down at each of them; on the way up there are as many
    """

    def __init__(self, widths: tuple[int, int, int] = WIDTHS, blocks: tuple[int, int, int] = BLOCKS) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.enter = nn.Conv3d(INPUTS * BLOCK**3, fine, 3, padding=1)
        self.down = nn.ModuleList(_stack(width, count) for width, count in zip(widths, blocks, strict=True))
        self.up = nn.ModuleList([_stack(fine, blocks[0]), _stack(middle, blocks[1])])
        self.shrink = nn.ModuleList([nn.Conv3d(fine, middle, 2, stride=2), nn.Conv3d(middle, coarse, 2, stride=2)])
        self.grow = nn.ModuleList(
            [nn.ConvTranspose3d(middle, fine, 2, stride=2), nn.ConvTranspose3d(coarse, middle, 2, stride=2)]
        )
        self.leave = nn.Conv3d(fine, OUTPUTS * BLOCK**3, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the density and the logarithm of its expected absolute error above the floor, both (b, z, y, x).

        Parameters
        ----------
        inputs : (b, 2, z, y, x) Wiener-filtered and unfiltered map, standardised; edges multiples of 8
        condition : (b, 2) log2 of the pixel size / 2 Å, and of resolution / (3 pixel sizes)
        """
        fine = self._through(self.down[0], self.enter(to_channels(inputs)), condition)
        middle = self._through(self.down[1], self.shrink[0](fine), condition)
        coarse = self._through(self.down[2], self.shrink[1](middle), condition)
        middle = self._through(self.up[1], middle + self.grow[1](coarse), condition)
        fine = self._through(self.up[0], fine + self.grow[0](middle), condition)
        out = to_voxels(self.leave(functional.silu(fine)))
        return inputs[:, 0] + out[:, 0], out[:, 1]

    @staticmethod
    def _through(stack: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
        for block in stack.children():
            x = block(x, condition)
        return x


def _stack(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(Residual(width) for _ in range(count))


def count_weights(network: nn.Module) -> int:
    """Return the number of weights."""
    return sum(parameter.numel() for parameter in network.parameters())
