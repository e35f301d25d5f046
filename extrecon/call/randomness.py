"""Random numbers of a plugin's own: other ones in each half and each call, and the same when the call is repeated.

Half sets are independent only as long as nothing random is shared. Forked calls start from one process's memory, so
every generator in it would give both halves the same numbers; a constant seed in a plugin does the same.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

_NUMPY_SEEDS = 1 << 32


def seed_of(*names: str) -> int:
    """Return the seed that belongs to names, such as a job's file: the same on any machine, 63 bits."""
    told = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(told[:8], "big") >> 1


@contextmanager
def own_random_numbers(seed: int, plugin: object) -> Iterator[None]:
    """Seed every generator that a plugin may use: global ones, its module's, and its own; torch's even if it is
    imported only now. The global generators of NumPy and `random` are as before afterwards.
    """  # noqa: D205
    before = np.random.get_state(), random.getstate()  # noqa: NPY002  plugins use it
    np.random.seed(seed % _NUMPY_SEEDS)  # noqa: NPY002
    random.seed(seed)
    module = sys.modules.get(type(plugin).__module__)
    for number, generator in enumerate(_generators_in((plugin, module))):
        _reseed(generator, seed_of(str(seed), str(number)))
    finder = None if _seed_torch(seed) else _TorchSeeder(seed)
    if finder is not None:
        sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder is not None:
            sys.meta_path.remove(finder)
        np.random.set_state(before[0])  # noqa: NPY002
        random.setstate(before[1])


def _generators_in(holders: Iterable[object]) -> list[Any]:
    kinds: tuple[Any, ...] = (np.random.Generator, np.random.RandomState, random.Random)
    torch: Any = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "Generator"):
        kinds += (torch.Generator,)
    held = [value for holder in holders if holder is not None for value in list(vars(holder).values())]
    return [value for value in held if isinstance(value, kinds)]


def _reseed(generator: Any, seed: int) -> None:
    if isinstance(generator, np.random.Generator):
        fresh = type(generator.bit_generator)(seed)
        generator.bit_generator.state = fresh.state
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed % _NUMPY_SEEDS)
    elif isinstance(generator, random.Random):
        generator.seed(seed)
    else:
        generator.manual_seed(seed)


def _seed_torch(seed: int) -> bool:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "manual_seed"):
        return False
    torch.manual_seed(seed)
    return True


class _TorchSeeder(MetaPathFinder):
    """Seeds torch as soon as somebody imports it: it starts from a constant."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._looking = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        """Return torch's own specification, with a loader that seeds it after loading; None for all else."""
        if fullname != "torch" or self._looking:
            return None
        self._looking = True
        try:
            spec = find_spec(fullname)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _SeedingLoader(spec.loader, self._seed)
        return spec


class _SeedingLoader(Loader):
    def __init__(self, loader: Loader, seed: int) -> None:
        self._loader = loader
        self._seed = seed

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _seed_torch(self._seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
