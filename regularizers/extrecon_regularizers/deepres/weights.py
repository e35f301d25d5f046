"""DeepRes's weights, and the network they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extrecon_regularizers.networks.engine import Network, checked
from extrecon_regularizers.networks.weights import read

if TYPE_CHECKING:
    from extrecon_regularizers.deepres.network import ResolutionNetwork

SHIPPED = "deepres.safetensors"
SHIPPED_SHA256 = "a24672af99a26b33396386b4dcfcf767377740d9b57df622380b2d07df091d99"
_GRAPH = Path(__file__).with_name("network.onnx")
_HINT = "Name a file that scripts/train_deepres wrote, or leave weights empty for those that are shipped."


@dataclass(frozen=True)
class Loaded:
    """A network ready to use, and the unit in which it tells resolution."""

    network: Network
    unit: str


def load(given: str = "") -> Loaded:
    """Return the network with the shipped weights, or with those of a safetensors file of one's own.

    Raises
    ------
    RegularizerError : no such file, not the weights that were shipped, or not weights of this network.
    """
    weights = read(given, SHIPPED, SHIPPED_SHA256, "DeepRes", _HINT)
    network = Network("DeepRes", weights, _GRAPH, _module, _HINT)
    if "unit" not in weights.words:
        raise network.refused("it does not tell its unit")
    return Loaded(checked(network) if given else network, weights.words["unit"])


def _module() -> ResolutionNetwork:
    from extrecon_regularizers.deepres.network import ResolutionNetwork

    return ResolutionNetwork()
