"""What the daemon has in memory for its runners: modules, plugins and their weights, as they were on disk.

A fork starts in milliseconds with everything imported and every weight loaded, and shares that memory with its
parent. The daemon itself never computes and never starts threads of its own: a fork would not have them.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from extrecon.daemon.sources import Sources

LOAD_SECONDS = 120
MOST_WISHES = 20  # of different settings, each perhaps with weights of its own
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class _Wish:
    """A regularizer to import or, with settings, to prepare."""

    regularizer: str
    settings: dict[str, Any] | None = None


class Loaded:
    """Imports what every call needs, and regularizers ahead of their time.

    Attributes
    ----------
    is_warm : what every call needs has been imported
    prepared : the regularizers whose weights are loaded
    """

    def __init__(self) -> None:
        self.is_warm = False
        self.prepared: list[str] = []
        self._sources: Sources | None = None
        self._weights: list[Path] = []
        self._regularizers: dict[str, Any] = {}
        self._wishes: list[_Wish] = []
        self._granted: list[_Wish] = []

    def warm_up(self) -> None:
        """Import what every call needs."""
        if self.is_warm:
            return
        with _limited_time():
            import extrecon.call.pipeline  # noqa: F401
        self.is_warm = True
        self._settle()

    def wish(self, regularizer: str, given: Mapping[str, Any], *, weights: bool) -> None:
        """Take note that calls with a regularizer have come, and whether they will need its weights soon.

        Parameters
        ----------
        given : its settings, as given: they may name other weights than those that are shipped
        """
        plugin = _Wish(regularizer)
        for wish in (plugin, replace(plugin, settings=dict(given)))[: 1 + weights]:
            if wish not in self._granted and len(self._granted) < MOST_WISHES:
                self._granted.append(wish)
                self._wishes.append(wish)

    @property
    def has_wishes(self) -> bool:
        """There is something to load as soon as nobody is at work."""
        return bool(self._wishes)

    def grant(self) -> None:
        """Import a regularizer or load its weights; a failure shows when it is used."""
        wish = self._wishes.pop(0)
        with suppress(BaseException), _limited_time():  # foreign code may raise whatever it likes
            self._load(wish)
        self._settle()

    def change(self) -> str | None:
        """Return what has changed on disk since it was loaded, in one clause; None if nothing has.

        Raises
        ------
        OSError : the system has nothing left to look with.
        """
        return self._sources.change() if self._sources else None

    def describe(self) -> dict[str, Any]:
        """Return what is loaded, for people."""
        told = {"ready": self.is_warm, "pid": os.getpid(), "megabytes": _megabytes()}
        return told | {"prepared": self.prepared}

    def _load(self, wish: _Wish) -> None:
        from extrecon.call.treatment import split_settings
        from extrecon.regularizer import keep, load

        name = wish.regularizer
        if name not in self._regularizers:
            self._regularizers[name] = load(name)
        if wish.settings is not None:
            plugin = self._regularizers[name]
            _, settings = split_settings(plugin, wish.settings)
            with _one_thread():
                self._weights += [Path(path) for path in plugin.prepare(settings)]
            keep(name, plugin)
            self.prepared = sorted({*self.prepared, name})

    def _settle(self) -> None:
        # What lives now lives on in every child: keep the collector from touching, and so copying, its pages.
        gc.collect()
        gc.freeze()
        files = self._files()
        if self._sources is None:
            self._sources = Sources(files)
        self._sources.add(files)

    def _files(self) -> list[str]:
        """Return the files that decide what a job does: code of extrecon and its plugins, and weights."""
        from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, REGULARIZER_GROUP

        groups = (REGULARIZER_GROUP, LOCAL_RESOLUTION_GROUP)
        plugins = {e.value.partition(":")[0].partition(".")[0] for g in groups for e in entry_points(group=g)}
        packages = {"extrecon"} | plugins
        modules = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in packages]
        sources = {str(m.__file__) for m in modules if getattr(m, "__file__", None)}
        return sorted(sources | {str(path.absolute()) for path in self._weights})


def _megabytes() -> int:
    """Return how much memory this process has; 0 if no file may be opened to look it up."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


@contextmanager
def _limited_time() -> Iterator[None]:
    """Have the kernel end this process if what it loads hangs, on a file system that does not answer, say.

    Clients are not held up meanwhile: they wait for an answer for a few seconds only.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LOAD_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenMP from starting threads while weights are loaded: a fork would wait for them for ever."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ |= dict.fromkeys(_THREAD_VARIABLES, "1")
    torch: Any = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
