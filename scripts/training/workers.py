"""Samples made beside a training, in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

Made = TypeVar("Made")


class _Worker(IterableDataset[Made]):
    """Samples of a process's own."""

    def __init__(self, make: Callable[[int], Iterable[Made]], seed: int) -> None:
        self._make, self._seed = make, seed

    def __iter__(self) -> Iterator[Made]:
        """Yield without end, other samples in each process."""
        told = get_worker_info()
        return iter(self._make(self._seed + (told.id if told else 0)))


def beside(make: Callable[[int], Iterable[Made]], seed: int, workers: int) -> Iterator[Made]:
    """Return what ``make`` yields for a seed: made by so many processes, or by this one where there are none.

    Parameters
    ----------
    make : takes a seed, yields samples without end; no closure, so that it can be sent to a process
    seed : of the first process; the next ones have the seeds after it
    workers : processes
    """
    loader = DataLoader(_Worker(make, seed), batch_size=None, num_workers=workers, collate_fn=_as_it_is)
    return iter(loader)


def _as_it_is(sample: Made) -> Made:
    return sample
