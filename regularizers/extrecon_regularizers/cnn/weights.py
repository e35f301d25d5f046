"""The trained weights: where they lie, that they are the right ones, and the network they make."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from extrecon.errors import RegularizerError

if TYPE_CHECKING:
    from extrecon_regularizers.cnn.network import Denoiser

SHIPPED = "denoiser.safetensors"
SHIPPED_SHA256 = "599df15152d01bf65899282f95b204fc9150c43f6cb41889ff8e530a2a1085ac"
CARD = "denoiser.md"
PACKAGES = dict.fromkeys(("torch", "safetensors"), "extrecon[cnn]")
"""What a network needs beyond what extrecon does, and what to give pip."""

_HINT = "Name a file that scripts/train_denoiser wrote, or leave weights empty for those that are shipped."


@dataclass(frozen=True)
class Loaded:
    """A network ready to use, the sha256 of the file it came from, and the file."""

    network: Denoiser
    sha256: str
    path: Path


def folder() -> Path:
    """Return the folder of the shipped weights: inside the installed package, or the source tree's own."""
    installed = Path(str(files("extrecon_regularizers.cnn"))) / "weights"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "weights"


def card() -> str:
    """Return the shipped weights' card, Markdown."""
    return (folder() / CARD).read_text()


def load(given: str = "") -> Loaded:
    """Return the network with the shipped weights, or with those of a safetensors file of one's own.

    Raises
    ------
    RegularizerError : no such file, not the weights that were shipped, or not weights of this network.
    """
    content, digest, path = read_weights(given, SHIPPED, SHIPPED_SHA256, _HINT)
    return Loaded(_network(content, path), digest, path)


def read_weights(given: str, shipped: str, shipped_sha256: str, hint: str) -> tuple[bytes, str, Path]:
    """Return a weights file's content, its sha256 and where it lies: a file of one's own, or a shipped one.

    Raises
    ------
    RegularizerError : no such file, or a shipped one that is not what was shipped.
    """
    path = Path(given) if given else folder() / shipped
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RegularizerError(
            f"{path.absolute()}: the weights cannot be read: {error.strerror}. {hint}"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if not given and digest != shipped_sha256:
        raise RegularizerError(
            f"{path} has the sha256 {digest}, but the shipped weights have {shipped_sha256}. Install extrecon "
            "again, or name weights of your own with --set weights=PATH."
        )
    return content, digest, path


def _network(content: bytes, path: Path) -> Denoiser:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as tensors_of

    from extrecon_regularizers.cnn.network import Denoiser

    try:
        tensors = tensors_of(content)
        widths = tuple(int(word) for word in metadata(content)["widths"].split())
        network = Denoiser(widths)  # type: ignore[arg-type]
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise RegularizerError(f"{path.absolute()} holds no weights of the denoiser ({error}). {_HINT}") from error
    network.requires_grad_(requires_grad=False)
    return network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


def metadata(content: bytes) -> dict[str, str]:
    """Return a safetensors file's own words: its header is JSON after eight bytes that tell its length."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found
