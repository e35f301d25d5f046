"""Where the numbers are crunched: NumPy arrays with SciPy's threaded FFTs, or torch tensors on a device.

The numerical rooms are written once, against an array namespace (``xp``) that NumPy and torch share through
array-api-compat, and against the transforms of `Compute`. On the CPU, SciPy serves them and torch is never
imported: that saves seconds at start and a third of a gigabyte.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import array_api_compat.numpy
import numpy as np
import numpy.typing as npt
import scipy.fft

from extrecon.errors import DeviceError, DeviceMissingError
from extrecon.system.devices import cuda_may_be_had
from extrecon.system.packages import missing

DEVICE_SLAB = 64
CPU_SLAB_BYTES, DEVICE_SLAB_BYTES = 2**22, 2**28

Array = Any
"""A NumPy array or a torch tensor, as the `Compute` in use has it."""


class Compute(ABC):
    """A device, its array namespace, and its Fourier transforms.

    Transforms follow SciPy: forward unnormalised, inverse divided by the number of points. Real transforms halve
    the last axis named.

    Attributes
    ----------
    xp : array namespace
    name : for people, such as "cpu, 2 threads"
    device : as torch calls it, "cpu" or "cuda:0"
    threads : CPU threads for its work, or for what is done on the host beside a device
    on_host : whether arrays are NumPy's, in this process's own memory
    """

    xp: Any
    name: str
    device: str
    threads: int
    on_host: bool = False

    @abstractmethod
    def to_device(self, array: npt.NDArray[Any], dtype: npt.DTypeLike | None = None) -> Array:
        """Return ``array`` on the device, converted to the NumPy dtype if one is given."""

    @abstractmethod
    def to_numpy(self, array: Array) -> npt.NDArray[Any]:
        """Return a device array as a NumPy array."""

    @abstractmethod
    def zeros_like(self, array: Array, shape: tuple[int, ...]) -> Array:
        """Return zeros of ``shape`` with the type and on the device of ``array``."""

    @abstractmethod
    def rfftn(self, array: Array, axes: tuple[int, ...]) -> Array:
        """Transform a real array over ``axes``; the last of them is halved."""

    @abstractmethod
    def irfftn(self, array: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
        """Invert `rfftn`; ``shape`` is the real length of each of ``axes``, which only the last one changes.

        May overwrite ``array``.
        """

    @abstractmethod
    def ifftn(self, array: Array, axes: tuple[int, ...]) -> Array:
        """Invert the complex transform over ``axes``. May overwrite ``array``."""

    @abstractmethod
    def fft(self, array: Array, length: int, axis: int) -> Array:
        """Transform a complex array over one axis, padded with zeros to ``length``; may overwrite ``array``.

        The one-dimensional transforms work in the calling thread: they are for use inside `over_slabs`.
        """

    @abstractmethod
    def ifft(self, array: Array, length: int, axis: int) -> Array:
        """Invert `fft`; may overwrite ``array``."""

    @abstractmethod
    def ifft_in_place(self, array: Array, axis: int) -> None:
        """Invert `fft` inside ``array``, which may be a part of a larger one."""

    @abstractmethod
    def rfft(self, array: Array, length: int, axis: int) -> Array:
        """Transform a real array over one axis, padded with zeros to ``length`` and halved."""

    @abstractmethod
    def irfft(self, array: Array, length: int, axis: int) -> Array:
        """Invert `rfft`; frequencies that ``array`` lacks are 0."""

    @abstractmethod
    def over_slabs(self, work: Callable[[slice], None], length: int, *, row_bytes: int = 0) -> None:
        """Call ``work`` with slices that together cover ``range(length)``, in parallel where that helps.

        Parameters
        ----------
        row_bytes : what ``work`` holds for each index of a slice; slices are kept short where that is much
        """


class CpuCompute(Compute):
    """NumPy arrays, SciPy's FFTs on ``threads`` threads."""

    device = "cpu"
    on_host = True

    def __init__(self, threads: int) -> None:
        self.xp = array_api_compat.numpy
        self.threads = threads
        self.name = f"cpu, {threads} thread{'s' if threads > 1 else ''}"

    def to_device(self, array: npt.NDArray[Any], dtype: npt.DTypeLike | None = None) -> Array:
        return np.asarray(array, dtype=dtype)

    def to_numpy(self, array: Array) -> npt.NDArray[Any]:
        return np.asarray(array)

    def zeros_like(self, array: Array, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, dtype=array.dtype)

    def rfftn(self, array: Array, axes: tuple[int, ...]) -> Array:
        return scipy.fft.rfftn(array, axes=axes, workers=self.threads)

    def irfftn(self, array: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
        # SciPy's irfftn would copy the spectrum; the complex axes first, in place, spare that.
        if len(axes) > 1:
            array = scipy.fft.ifftn(array, axes=axes[:-1], workers=self.threads, overwrite_x=True)
        return scipy.fft.irfft(array, n=shape[-1], axis=axes[-1], workers=self.threads, overwrite_x=True)

    def ifftn(self, array: Array, axes: tuple[int, ...]) -> Array:
        return scipy.fft.ifftn(array, axes=axes, workers=self.threads, overwrite_x=True)

    def fft(self, array: Array, length: int, axis: int) -> Array:
        return scipy.fft.fft(array, length, axis=axis, overwrite_x=True)

    def ifft(self, array: Array, length: int, axis: int) -> Array:
        return scipy.fft.ifft(array, length, axis=axis, overwrite_x=True)

    def ifft_in_place(self, array: Array, axis: int) -> None:
        # Overwriting is a permission that SciPy makes use of for complex arrays; were it not to, this would copy.
        result = scipy.fft.ifft(array, axis=axis, overwrite_x=True)
        if not np.may_share_memory(result, array):
            array[...] = result

    def rfft(self, array: Array, length: int, axis: int) -> Array:
        return scipy.fft.rfft(array, length, axis=axis)

    def irfft(self, array: Array, length: int, axis: int) -> Array:
        return scipy.fft.irfft(array, length, axis=axis)

    def over_slabs(self, work: Callable[[slice], None], length: int, *, row_bytes: int = 0) -> None:
        # Slabs of a few planes keep temporaries inside the cache; NumPy lets go of the GIL in each of them.
        step = max(1, min(12, -(-length // self.threads), CPU_SLAB_BYTES // max(1, row_bytes)))
        slabs = [slice(start, min(start + step, length)) for start in range(0, length, step)]
        if self.threads == 1:
            for slab in slabs:
                work(slab)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, slabs))


class TorchCompute(Compute):
    """Torch tensors on one device; beside it ``threads`` on the host, torch's own number if 0."""

    def __init__(self, device: str, threads: int = 0) -> None:
        if told := missing(f"--device {device}", {"torch": "extrecon[gpu]"}):
            raise DeviceMissingError(f"{told}; or use --device cpu.")
        import array_api_compat.torch
        import torch

        self.xp = array_api_compat.torch
        self._torch = torch
        self.device = self.name = device
        self.threads = threads or torch.get_num_threads()
        if torch.device(device).type == "cuda":
            self._check_cuda(device)
            self.name = f"{device} ({torch.cuda.get_device_name(device)})"

    def _check_cuda(self, device: str) -> None:
        torch = self._torch
        if not torch.cuda.is_available():
            raise DeviceMissingError(
                f"--device {device}: this torch ({torch.__version__}) sees no CUDA device. "
                "Use --device cpu, or install a CUDA build of torch."
            )
        count = torch.cuda.device_count()
        if (torch.device(device).index or 0) >= count:
            raise DeviceMissingError(
                f"--device {device}: torch sees {count} CUDA device(s), cuda:0 to cuda:{count - 1}."
            )

    def to_device(self, array: npt.NDArray[Any], dtype: npt.DTypeLike | None = None) -> Array:
        return self._torch.tensor(np.asarray(array, dtype=dtype), device=self.device)

    def to_numpy(self, array: Array) -> npt.NDArray[Any]:
        return np.asarray(array.cpu().numpy())

    def zeros_like(self, array: Array, shape: tuple[int, ...]) -> Array:
        return self._torch.zeros(shape, dtype=array.dtype, device=self.device)

    def rfftn(self, array: Array, axes: tuple[int, ...]) -> Array:
        return self._torch.fft.rfftn(array, dim=axes)

    def irfftn(self, array: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
        return self._torch.fft.irfftn(array, s=shape, dim=axes)

    def ifftn(self, array: Array, axes: tuple[int, ...]) -> Array:
        return self._torch.fft.ifftn(array, dim=axes)

    def fft(self, array: Array, length: int, axis: int) -> Array:
        return self._torch.fft.fft(array, length, dim=axis)

    def ifft(self, array: Array, length: int, axis: int) -> Array:
        return self._torch.fft.ifft(array, length, dim=axis)

    def ifft_in_place(self, array: Array, axis: int) -> None:
        array.copy_(self._torch.fft.ifft(array, dim=axis))

    def rfft(self, array: Array, length: int, axis: int) -> Array:
        return self._torch.fft.rfft(array, length, dim=axis)

    def irfft(self, array: Array, length: int, axis: int) -> Array:
        return self._torch.fft.irfft(array, length, dim=axis)

    def over_slabs(self, work: Callable[[slice], None], length: int, *, row_bytes: int = 0) -> None:
        # Few and large, to fill the device, but bounded: temporaries are index arrays of eight bytes a point.
        step = max(1, min(DEVICE_SLAB, DEVICE_SLAB_BYTES // max(1, row_bytes)))
        for start in range(0, length, step):
            work(slice(start, min(start + step, length)))


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def cpu(threads: int = 0) -> Compute:
    """Return CPU computing on ``threads`` threads; 0 means all cores this process may use."""
    return CpuCompute(threads or available_cores())


def compute_for(device: str, threads: int = 0) -> Compute:
    """Return the `Compute` for ``--device``: "auto", "cpu", "cuda" or "cuda:N".

    Raises
    ------
    DeviceError : the device is unknown or not there.
    """
    if device == "cpu" or (device == "auto" and not cuda_may_be_had()):
        return cpu(threads)
    if device == "auto":
        try:
            return TorchCompute("cuda:0", threads)
        except DeviceMissingError:
            return cpu(threads)
    if re.fullmatch(r"cuda(:[0-9]{1,3})?", device):
        return TorchCompute("cuda:0" if device == "cuda" else device, threads)
    raise DeviceError(f"--device {device}: choose auto, cpu, cuda or cuda:N.")
