from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extrecon.daemon import monitor
from extrecon.daemon.job import QueuedJob
from extrecon.daemon.monitor import MOST_FOLDERS, Monitor
from extrecon.daemon.protocol import Channel
from tests.jobs import write_previous


@pytest.fixture
def job() -> Iterator[Callable[..., QueuedJob]]:
    """Makes jobs of the broker's, which nobody waits for."""
    ours, theirs = socket.socketpair()

    def make(folder: Path, regularizer: str = "cnn", apply: str = "local-search", **more: Any) -> QueuedJob:
        values = {"device": "cpu", "threads": 1, "regularizer": regularizer, "apply": apply}
        star = "run_it005_half1_class001_external_reconstruct.star"
        told = {"working_directory": str(folder), "star": star, "options": {"values": values}, "cores": [0]}
        return QueuedJob(Channel(ours), told | more)

    yield make
    ours.close()
    theirs.close()


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watcher(woken: threading.Event) -> Iterator[Monitor]:
    found = Monitor(woken.set)
    yield found
    found.stop()


def reach(folder: Path, order: int) -> None:
    """Have iteration 4 use a HEALPix order, in one change of the folder."""
    sampling = folder / "run_it004_sampling.star"
    text = sampling.read_text().replace("_rlnHealpixOrder   2", f"_rlnHealpixOrder   {order}")
    new = folder / "new"
    new.write_text(text)
    new.replace(sampling)


def wishes(watcher: Monitor) -> list[tuple[str, bool] | None]:
    """Return all wishes until there is none."""
    return list(iter(watcher.wish, None))


def test_weights_are_wished_for_one_order_before_local_search(
    watcher: Monitor, woken: threading.Event, job: Callable[..., QueuedJob], tmp_path: Path
) -> None:
    write_previous(tmp_path, "run", order=2, local_order=4)
    watcher.follow(job(tmp_path))
    assert wishes(watcher) == [("cnn", False)]
    reach(tmp_path, 3)
    assert woken.wait(30)
    assert wishes(watcher) == [("cnn", True)]
    assert wishes(watcher) == []


def test_without_events_a_look_follows_after_a_while(
    watcher: Monitor, job: Callable[..., QueuedJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extrecon.relion.watching.is_on_network", lambda folder: True)
    write_previous(tmp_path, "run", order=2, local_order=4)
    watcher.follow(job(tmp_path))
    assert wishes(watcher) == [("cnn", False)]
    reach(tmp_path, 4)
    assert wishes(watcher) == []  # nobody has looked since
    monkeypatch.setattr(monitor, "LOOK_SECONDS", -1.0)
    assert wishes(watcher) == [("cnn", True)]


def test_whoever_regularizes_always_needs_the_weights_at_once(
    watcher: Monitor, job: Callable[..., QueuedJob], tmp_path: Path
) -> None:
    watcher.follow(job(tmp_path, apply="always"))
    assert wishes(watcher) == [("cnn", False), ("cnn", True)]


def test_a_new_warm_process_is_asked_again(
    watcher: Monitor, job: Callable[..., QueuedJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "LOOK_SECONDS", -1.0)
    watcher.follow(job(tmp_path, apply="always"))
    first = wishes(watcher)
    assert wishes(watcher) == []
    watcher.forget()
    assert wishes(watcher) == first


def test_a_regularizer_that_two_refinements_use_is_wished_for_once(
    watcher: Monitor, job: Callable[..., QueuedJob], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        watcher.follow(job(tmp_path / name, apply="always"))
    assert wishes(watcher) == [("cnn", False), ("cnn", True)]


def test_another_regularizer_in_the_same_folder_takes_the_place_of_the_first(
    watcher: Monitor, job: Callable[..., QueuedJob], tmp_path: Path
) -> None:
    watcher.follow(job(tmp_path, "cnn"))
    watcher.follow(job(tmp_path, "profile"))
    assert wishes(watcher) == [("profile", False)]


def test_what_needs_no_regularizer_is_not_watched(
    watcher: Monitor, job: Callable[..., QueuedJob], tmp_path: Path
) -> None:
    watcher.follow(job(tmp_path, apply="never"))
    watcher.follow(job(tmp_path, star="rec.star"))  # no refinement's
    assert watcher.describe() == []
    assert wishes(watcher) == []


def test_the_folder_that_was_not_heard_of_for_longest_is_given_up(
    watcher: Monitor, job: Callable[..., QueuedJob], tmp_path: Path
) -> None:
    folders = [tmp_path / str(index) for index in range(MOST_FOLDERS + 1)]
    for folder in folders:
        folder.mkdir()
    for folder in folders[:-1]:
        watcher.follow(job(folder))
    watcher.follow(job(folders[0]))
    watcher.follow(job(folders[-1]))
    watched = [told.partition(" (")[0] for told in watcher.describe()]
    assert watched == [str(folder) for folder in (*folders[2:-1], folders[0], folders[-1])]
