"""Files of weights: what is in them, and which are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from extrecon.errors import RegularizerError
from extrecon_regularizers.networks import weights
from extrecon_regularizers.networks.weights import read

NAMES = ("net.safetensors", "0" * 64, "a network", "Do this.")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    path.write_bytes(save({"x": np.arange(3, dtype=np.float16)}, metadata={"unit": "logarithm"}))
    return path


def test_a_file_of_ones_own(own: Path) -> None:
    found = read(str(own), *NAMES)
    assert found.tensors["x"].dtype == np.float32
    assert found.tensors["x"].tolist() == [0.0, 1.0, 2.0]
    assert (found.words, found.path, len(found.sha256)) == ({"unit": "logarithm"}, own, 64)


def test_other_weights_in_the_shipped_ones_place_are_refused(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own.rename(own.with_name("net.safetensors"))
    monkeypatch.setattr(weights, "folder", lambda: own.parent)
    with pytest.raises(RegularizerError, match=f"has the sha256 .+ but the shipped weights have {'0' * 64}"):
        read("", *NAMES)


@pytest.mark.parametrize("length", [0, 7, 8, 20, -1])
def test_a_file_that_was_cut_is_refused(own: Path, length: int) -> None:
    own.write_bytes(own.read_bytes()[:length])
    with pytest.raises(RegularizerError, match=r"own\.safetensors holds no weights of a network \(.+\)\. Do th"):
        read(str(own), *NAMES)


def test_a_file_without_words_is_refused(own: Path) -> None:
    own.write_bytes(save({"x": np.zeros(3)}))
    with pytest.raises(RegularizerError, match="holds no weights of a network"):
        read(str(own), *NAMES)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegularizerError, match=r"none: the weights cannot be read: No such file .+ Do this"):
        read(str(tmp_path / "none"), *NAMES)
