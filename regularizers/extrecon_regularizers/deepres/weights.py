"""The trained weights of DeepRes, and the network they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extrecon.errors import RegularizerError
from extrecon_regularizers.cnn.weights import metadata, read_weights

if TYPE_CHECKING:
    from extrecon_regularizers.deepres.network import ResolutionNetwork

SHIPPED = "deepres.safetensors"
SHIPPED_SHA256 = "06aa961673eb14855b8f7c6211b2ebdec485115c37eb02c4e848847d0fa2bb86"
_HINT = "Name a file that scripts/train_deepres wrote, or leave weights empty for those that are shipped."


@dataclass(frozen=True)
class Loaded:
    """A network ready to use, the unit in which it tells resolution, its file's sha256, and the file."""

    network: ResolutionNetwork
    unit: str
    sha256: str
    path: Path


def load(given: str = "") -> Loaded:
    """Return the network with the shipped weights, or with those of a safetensors file of one's own.

    Raises
    ------
    RegularizerError : no such file, not the weights that were shipped, or not weights of this network.
    """
    content, digest, path = read_weights(given, SHIPPED, SHIPPED_SHA256, _HINT)
    network, unit = _network(content, path)
    return Loaded(network, unit, digest, path)


def _network(content: bytes, path: Path) -> tuple[ResolutionNetwork, str]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as tensors_of

    from extrecon_regularizers.deepres.network import ResolutionNetwork

    try:
        tensors = tensors_of(content)
        unit = metadata(content)["unit"]
        network = ResolutionNetwork()
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise RegularizerError(f"{path.absolute()} holds no weights of DeepRes ({error}). {_HINT}") from error
    network.requires_grad_(requires_grad=False)
    return network.eval().to(memory_format=torch.channels_last_3d), unit  # type: ignore[call-overload]
