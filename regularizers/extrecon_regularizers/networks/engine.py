"""What runs a network: ONNX Runtime on a processor, torch on any other device.

Importing torch takes seconds and installing it takes gigabytes; ONNX Runtime takes a tenth of a second and some
tens of megabytes, and is nearly as fast. Its graph, which holds no weights, is made from the torch module by
``scripts/make_network_graphs`` and lies beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import Compute, cpu
from extrecon_regularizers.networks.runtime import onnx_runtime
from extrecon_regularizers.networks.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[np.float32]
Run = Callable[..., tuple[Array, ...]]
"""Takes the network's inputs, each with a leading axis of length 1, and returns its outputs alike."""


@dataclass(frozen=True)
class Network:
    """A network ready to be run.

    Attributes
    ----------
    name : for errors
    weights : what was learned
    graph : ONNX file of the network without its weights, None if there is none for weights of these shapes
    module : makes the torch module, without the weights
    hint : what to do about weights that are not this network's
    """

    name: str
    weights: Weights
    graph: Path | None
    module: Callable[[], nn.Module]
    hint: str

    def refused(self, why: str) -> RegularizerError:
        """Return the error to raise about weights that do not fit the network."""
        path, told = self.weights.path.absolute(), " ".join(why.split())
        return RegularizerError(f"{path} holds no weights of {self.name} ({told}). {self.hint}")


def checked(network: Network) -> Network:
    """Return a network whose weights fit it.

    Raises
    ------
    RegularizerError : they do not.
    """
    with running(network, cpu(1)):
        return network


@contextmanager
def running(network: Network, compute: Compute) -> Iterator[Run]:
    """Yield what runs the network on the call's device, with as many threads as the call may use.

    Raises
    ------
    RegularizerError : weights that are not this network's.
    """
    if compute.on_host and network.graph is not None:
        yield _OnProcessor(network, network.graph, compute.threads)
    else:
        with _on_torch(network, compute) as run:
            yield run


class _OnProcessor:
    """Runs a network's graph by ONNX Runtime."""

    def __init__(self, network: Network, graph: Path, threads: int) -> None:
        runtime = onnx_runtime()
        faults = runtime.capi.onnxruntime_pybind11_state
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the cores
        # The session only points at the weights, so they have to live as long as it does.
        self._weights = {
            name: runtime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(tensor))
            for name, tensor in network.weights.tensors.items()
        }
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        try:
            self._session = runtime.InferenceSession(
                graph.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except (faults.Fail, faults.RuntimeException) as error:
            raise network.refused(str(error)) from error
        self._names = [each.name for each in self._session.get_inputs()]

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Return the outputs for the inputs in the graph's order."""
        shown = {name: np.ascontiguousarray(array) for name, array in zip(self._names, inputs, strict=True)}
        return tuple(self._session.run(None, shown))


@contextmanager
def _on_torch(network: Network, compute: Compute) -> Iterator[Run]:
    if find_spec("torch") is None:
        raise RegularizerError(
            f"{network.weights.path.absolute()}: weights of other shapes than the shipped ones need torch, "
            "which is not installed here: pip install 'extrecon[gpu]'."
        )
    import torch

    module = trained_module(network).to(compute.device)

    def on_device(array: Array) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(compute.device)
        return tensor.contiguous(memory_format=torch.channels_last_3d) if tensor.ndim == 5 else tensor

    def run(*inputs: Array) -> tuple[Array, ...]:
        with torch.inference_mode():
            return tuple(out.cpu().numpy() for out in module(*map(on_device, inputs)))

    before = torch.get_num_threads()
    torch.set_num_threads(compute.threads)
    try:
        yield run
    finally:
        torch.set_num_threads(before)


def trained_module(network: Network) -> nn.Module:
    """Return the torch module with its weights, on the processor.

    Raises
    ------
    RegularizerError : weights that are not this network's.
    """
    import torch

    module = network.module()
    try:
        module.load_state_dict({name: torch.from_numpy(value) for name, value in network.weights.tensors.items()})
    except RuntimeError as error:
        raise network.refused(str(error)) from error
    module.requires_grad_(requires_grad=False)
    channels_last: nn.Module = module.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return channels_last
