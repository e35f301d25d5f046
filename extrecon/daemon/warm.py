"""The warm process: imports everything once, then forks a runner for each job.

A fork starts in milliseconds with everything imported and every weight loaded, and shares that memory with its
parent. What a job does to its own process (threads, working directory, a crash, memory that is never given back)
ends with it, so that the hundredth job is as the first. This process itself never computes and never starts
threads of its own; a fork would not have them.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

import extrecon.call.pipeline  # noqa: F401  what takes seconds to import
from extrecon.daemon.place import Place, take_lock
from extrecon.daemon.protocol import MOST_DESCRIPTORS, Channel, Message
from extrecon.daemon.runner import run
from extrecon.daemon.signals import default_signals
from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, REGULARIZER_GROUP, Regularizer, keep, load
from extrecon.system.processes import die_with_parent, start_time

_LOCK_SECONDS = 1.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class WarmProcess:
    """Listens to the broker, forks, and tells how its children ended.

    Parameters
    ----------
    broker : the connection to the broker; its end is the end of this process
    place : the daemon's files, cleared away if the broker could not do so itself
    """

    def __init__(self, broker: Channel, place: Place) -> None:
        self._broker = broker
        self._place = place
        self._pid = os.getpid()
        self._runners: dict[int, int] = {}
        self._loaded: dict[str, Regularizer] = {}
        self._prepared: set[str] = set()
        self._files: list[Path] = []
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)

    def serve(self) -> None:
        """Work until the broker is gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_writer.fileno())
        with selectors.DefaultSelector() as selector:
            selector.register(self._broker, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            self._tell_ready()
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._wake_reader:
                        self._reap()
                    elif not self._listen():
                        self._end()
                        return

    def _listen(self) -> bool:
        try:
            messages, ended = self._broker.available()
        except (OSError, ValueError):
            return False
        for message in messages:
            if message["verb"] == "fork":
                self._fork(message["job"])
            elif message["verb"] == "load":
                self._load(message["regularizer"], prepare=bool(message["prepare"]))
        return not ended

    def _tell(self, message: Message) -> None:
        with suppress(OSError):  # a broker that is gone is noticed by its silence
            self._broker.send(message)

    def _tell_ready(self) -> None:
        # What lives now lives on in every child: keep the collector from touching, and so copying, its pages.
        gc.collect()
        gc.freeze()
        self._tell({"ready": os.getpid(), "files": self._watched_files(), "prepared": sorted(self._prepared)})

    def _watched_files(self) -> list[str]:
        """Return the files that decide what a job does: code of extrecon and its plugins, and weights."""
        groups = (REGULARIZER_GROUP, LOCAL_RESOLUTION_GROUP)
        plugins = {e.value.partition(":")[0].partition(".")[0] for g in groups for e in entry_points(group=g)}
        packages = {"extrecon"} | plugins
        modules = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in packages]
        sources = {str(m.__file__) for m in modules if getattr(m, "__file__", None)}
        return sorted(sources | {str(path.absolute()) for path in self._files})

    def _load(self, name: str, *, prepare: bool) -> None:
        """Import a regularizer and, if asked, have it load its weights; a failure shows when it is used."""
        with suppress(Exception):
            if name not in self._loaded:
                self._loaded[name] = load(name)
            if prepare and name not in self._prepared:
                with _one_thread():
                    self._files += [Path(path) for path in self._loaded[name].prepare()]
                keep(name, self._loaded[name])
                self._prepared.add(name)
        self._tell_ready()

    def _fork(self, job: int) -> None:
        descriptors: list[int] = []
        try:
            descriptors = self._broker.take_descriptors(MOST_DESCRIPTORS)
            pid = os.fork()
        except (OSError, ValueError, MemoryError) as error:
            self._tell({"refused": job, "reason": f"the daemon's warm process could not fork: {error}"})
        else:
            if pid == 0:
                self._become_runner(*descriptors)
            self._runners[pid] = job
            self._tell({"forked": job, "pid": pid, "start_time": start_time(pid)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _become_runner(self, connection: int, request: int, output: int, errors: int) -> NoReturn:
        code = 1
        try:
            die_with_parent()
            if os.getppid() != self._pid:
                os._exit(code)  # it ended before it was watched: the client has been sent away
            signal.set_wakeup_fd(-1)
            default_signals()
            for held in (self._broker, self._wake_reader, self._wake_writer):
                held.close()
            for descriptor, number in ((output, 1), (errors, 2)):
                os.dup2(descriptor, number)
                os.close(descriptor)
            tempfile.tempdir = None
            with os.fdopen(request, "rb") as file:
                file.seek(0)
                told = json.load(file)
            code = run(told, Channel(socket.socket(fileno=connection)))
        finally:
            os._exit(code)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            self._wake_reader.recv(4096)
        while self._runners:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            job = self._runners.pop(pid, None)
            if job is not None:
                self._tell({"ended": job, "code": os.waitstatus_to_exitcode(status)})

    def _end(self) -> None:
        """End the runners; clear the daemon's files away if the broker was killed and no other took its place."""
        for pid in self._runners:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _LOCK_SECONDS
        with suppress(OSError):
            while self._place.lock.exists() and time.monotonic() < deadline:
                lock = take_lock(self._place.lock)
                if lock is not None:
                    self._place.clear()
                    os.close(lock)
                    return
                time.sleep(0.02)  # a killed broker's connections may be closed before its lock is


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


def main() -> None:
    """Serve the broker at the other end of the descriptor given as the first argument."""
    descriptor, folder, name = sys.argv[1:4]
    default_signals()
    broker = Channel(socket.socket(fileno=int(descriptor)))
    WarmProcess(broker, Place(Path(folder), name)).serve()


if __name__ == "__main__":
    main()
