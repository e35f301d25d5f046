"""What runs a network: ONNX Runtime and torch tell the same, on as many threads as they may use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon_regularizers.cnn import weights as cnn
from extrecon_regularizers.cnn.network import Denoiser
from extrecon_regularizers.deepres import weights as deepres
from extrecon_regularizers.deepres.network import ResolutionNetwork
from extrecon_regularizers.deepres.windows import BANDS
from extrecon_regularizers.networks import engine
from extrecon_regularizers.networks.engine import Array, Network, checked, running
from extrecon_regularizers.networks.runtime import SILENCE, onnx_runtime
from extrecon_regularizers.networks.weights import Weights

EDGES = (32, 24, 40)
RNG = np.random.default_rng(1)


def random(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def cnn_network() -> tuple[Network, list[Array]]:
    return cnn.load(), [random(1, 2, *EDGES), random(1, 2)]


def deepres_network() -> tuple[Network, list[Array]]:
    halves = (edge // 2 for edge in EDGES)
    return deepres.load().network, [random(1, 2, *EDGES), random(1, BANDS, *halves), random(1, 1)]


MAKERS = pytest.mark.parametrize("make", [cnn_network, deepres_network])
Make = Callable[[], tuple[Network, list[Array]]]


def with_weights(network: Network, tensors: dict[str, Array]) -> Network:
    weights = Weights(tensors, network.weights.words, "", Path("own.safetensors"))
    return Network(network.name, weights, network.graph, network.module, network.hint)


def told(network: Network, inputs: list[Array], compute: Compute) -> tuple[Array, ...]:
    with running(network, compute) as run:
        return run(*inputs)


@MAKERS
@pytest.mark.parametrize("of_its_own", [False, True], ids=["shipped", "random"])
def test_both_engines_tell_the_same(make: Make, of_its_own: bool) -> None:
    network, inputs = make()
    if of_its_own:  # weights that no training made: none of them is 0, or like another
        tensors = {name: 0.1 * random(*value.shape) for name, value in network.weights.tensors.items()}
        network = with_weights(network, tensors)
    on_processor = told(network, inputs, cpu(1))
    on_device = told(network, inputs, TorchCompute("cpu", 1))
    assert [each.shape for each in on_processor] == [each.shape for each in on_device]
    for ours, theirs in zip(on_processor, on_device, strict=True):
        assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


@MAKERS
def test_threads_change_nothing(make: Make) -> None:
    network, inputs = make()
    alone, both = (told(network, inputs, cpu(threads)) for threads in (1, 2))
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(alone, both, strict=True))


def test_torch_runs_on_the_threads_of_its_back_end() -> None:
    ran_on, before = [], torch.get_num_threads()

    class Watching(nn.Module):
        def forward(self, inputs: Tensor) -> tuple[Tensor]:
            ran_on.append(torch.get_num_threads())
            return (inputs,)

    watched = Network("w", Weights({}, {}, "", Path("w")), None, Watching, "")
    told(watched, [random(1, 1, 8, 8, 8)], TorchCompute("cpu", 3))
    assert (ran_on, torch.get_num_threads()) == ([3], before)


def test_onnx_runtime_is_told_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = onnx_runtime()
    made, options = [], onnxruntime.SessionOptions

    def recorded() -> Any:
        made.append(options())
        return made[-1]

    monkeypatch.setattr(onnxruntime, "SessionOptions", recorded)
    checked(cnn.load())
    with running(cnn.load(), cpu(2)):
        pass
    assert [each.intra_op_num_threads for each in made] == [1, 2]


@MAKERS
@pytest.mark.parametrize("compute", [cpu(1), TorchCompute("cpu", 1)], ids=["onnx", "torch"])
@pytest.mark.parametrize("fault", ["missing", "shape", "another"])
def test_weights_that_do_not_fit_are_refused(make: Make, compute: Compute, fault: str) -> None:
    network, inputs = make()
    tensors = dict(network.weights.tensors)
    bias = tensors.pop("leave.bias")
    if fault != "missing":
        tensors["leave.bias"] = bias if fault == "another" else np.zeros(3, np.float32)
    if fault == "another":
        tensors["unheard_of"] = bias
    with pytest.raises(RegularizerError, match=r"own\.safetensors holds no weights of .+Name a file that scripts/"):
        told(with_weights(network, tensors), inputs, compute)


def test_other_shapes_without_torch_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tensors = {name: value.numpy() for name, value in Denoiser((8, 16, 16)).state_dict().items()}
    (tmp_path / "own.safetensors").write_bytes(save(tensors, metadata={"widths": "8 16 16"}))
    own = str(tmp_path / "own.safetensors")
    assert cnn.load(own).graph is None
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    with pytest.raises(RegularizerError, match=r"need torch, which is not installed .+'extrecon\[gpu\]'"):
        cnn.load(own)


@MAKERS
def test_a_graph_carries_nothing_but_the_network(make: Make) -> None:
    graph = make()[0].graph
    assert graph is not None
    content = graph.read_bytes()
    assert len(content) < 20_000
    assert [each for each in (b".py", b"/home", b"/tmp") if each in content] == []


def test_networks_without_torch_do_not_import_it() -> None:
    program = (
        "import sys, numpy as np\n"
        "from extrecon.fourier.compute import cpu\n"
        "from extrecon_regularizers.cnn import weights\n"
        "from extrecon_regularizers.cnn.apply import apply_network\n"
        "apply_network(weights.load(), np.zeros((2, 16, 16, 16), np.float32), np.zeros(2, np.float32), cpu(1))\n"
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize("words", [["regularizers"], ["doctor"], None], ids=["list", "doctor", "network"])
def test_nobody_is_told_that_a_network_has_run(words: list[str] | None, tmp_path: Path) -> None:
    """ONNX Runtime's own reports need a thread, and leave a file under the home folder."""
    ran_network = (
        "import os, numpy as np\n"
        "from extrecon_regularizers.cnn.regularizer import Cnn, CnnSettings\n"
        "Cnn().prepare(CnnSettings())\n"
        "assert len(os.listdir('/proc/self/task')) == 1\n"
        "from extrecon.fourier.compute import cpu\n"
        "from extrecon_regularizers.cnn import weights\n"
        "from extrecon_regularizers.networks.engine import checked\n"
        "checked(weights.load())\n"
        "assert len(os.listdir('/proc/self/task')) == 1"
    )
    extrecon = str(Path(sys.executable).with_name("extrecon"))
    command = [extrecon, *words] if words else [sys.executable, "-c", ran_network]
    environ = {name: value for name, value in os.environ.items() if name not in (SILENCE, "CI")}
    environ |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "OPENBLAS_NUM_THREADS": "1"}
    environ |= {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [path for path in tmp_path.rglob("*") if "icrosoft" in path.name or "onnx" in path.name] == []


def test_the_graphs_are_those_of_the_modules() -> None:
    assert set(cnn.load().weights.tensors) == set(Denoiser().state_dict())
    assert set(deepres.load().network.weights.tensors) == set(ResolutionNetwork().state_dict())
