"""The denoiser's weights, and the network they make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from extrecon_regularizers.networks.engine import Network, checked
from extrecon_regularizers.networks.weights import folder, read

if TYPE_CHECKING:
    from extrecon_regularizers.cnn.network import Denoiser

SHIPPED = "denoiser.safetensors"
SHIPPED_SHA256 = "4b3b783468917de73a0f493d76ac2abd5e5b4e6753ed52f2216807d02c499dd4"
CARD = "denoiser.md"
_GRAPH = Path(__file__).with_name("network.onnx")
_GRAPH_WIDTHS = "32 64 96"
_HINT = "Name a file that scripts/train_denoiser wrote, or leave weights empty for those that are shipped."


def card() -> str:
    """Return the shipped weights' card, Markdown."""
    return (folder() / CARD).read_text()


def load(given: str = "") -> Network:
    """Return the network with the shipped weights, or with those of a safetensors file of one's own.

    Of another width than the shipped one it runs on torch everywhere.

    Raises
    ------
    RegularizerError : no such file, not the weights that were shipped, or not weights of this network.
    """
    weights = read(given, SHIPPED, SHIPPED_SHA256, "the denoiser", _HINT)
    widths = weights.words.get("widths", "")

    def module() -> Denoiser:
        from extrecon_regularizers.cnn.network import Denoiser

        return Denoiser(tuple(int(word) for word in widths.split()))  # type: ignore[arg-type]

    network = Network("the denoiser", weights, _GRAPH if widths == _GRAPH_WIDTHS else None, module, _HINT)
    if re.fullmatch(r"\d+ \d+ \d+", widths) is None:
        raise network.refused(f"its widths are '{widths}'")
    return checked(network) if given else network
