"""Files of trained weights: where they lie, that they are the right ones, and what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError

PACKAGES = {name: name for name in ("onnxruntime", "safetensors")}
"""What a network needs to be read and to run on a processor."""


@dataclass(frozen=True)
class Weights:
    """What a safetensors file holds.

    Attributes
    ----------
    tensors : each weight by its name, float32
    words : the file's own, such as the network's widths
    sha256 : of the file
    path : the file
    """

    tensors: Mapping[str, npt.NDArray[np.float32]]
    words: Mapping[str, str]
    sha256: str
    path: Path


def folder() -> Path:
    """Return the folder of the shipped weights: inside the installed package, or the source tree's own."""
    installed = Path(str(files("extrecon_regularizers.networks"))) / "weights"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "weights"


def read(given: str, shipped: str, shipped_sha256: str, of: str, hint: str) -> Weights:
    """Return the weights of a file of one's own, or those that are shipped.

    Parameters
    ----------
    given : path of a file of one's own; empty for the shipped one
    shipped, shipped_sha256 : the shipped file's name and what it must be
    of : whose weights they have to be, for the error
    hint : what to do where they cannot be used

    Raises
    ------
    RegularizerError : no such file, one that holds no weights, or a shipped one that is not what was shipped.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

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
    try:
        tensors = {name: np.asarray(value, dtype=np.float32) for name, value in load(content).items()}
        words = _words(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise RegularizerError(f"{path.absolute()} holds no weights of {of} ({error}). {hint}") from error
    return Weights(tensors, words, digest, path)


def _words(content: bytes) -> dict[str, str]:
    """Return a safetensors file's own words: its header is JSON after eight bytes that tell its length."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found
