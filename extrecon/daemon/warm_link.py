"""The broker's side of the warm process: starting it, asking it, knowing what it has loaded."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import psutil

from extrecon.daemon.job import QueuedJob
from extrecon.daemon.place import Place
from extrecon.daemon.protocol import Channel, Message
from extrecon.daemon.sources import Sources

_MOST_FAILURES = 3
_SEND_SECONDS = 2.0


class WarmLink:
    """The warm process, as the broker sees it.

    Attributes
    ----------
    channel : the connection to it
    ready : it has imported everything, and will fork at once when asked
    """

    channel: Channel

    def __init__(self, place: Place) -> None:
        self.ready = False
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self._sources: Sources | None = None
        self._prepared: list[str] = []
        self._failures = 0
        self._asked_at = 0.0

    def start(self) -> Channel:
        """Start a new one and return the connection to it."""
        self._asked_at = time.monotonic()
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "extrecon.daemon.warm"),
                *(str(theirs.fileno()), str(self._place.folder), self._place.socket.stem),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        ours.settimeout(_SEND_SECONDS)
        self.ready, self._sources, self._prepared = False, None, []
        self.channel = Channel(ours)
        return self.channel

    def hear(self) -> tuple[list[Message], bool]:
        """Return what it says, and whether it is gone."""
        try:
            messages, ended = self.channel.available()
        except (OSError, ValueError):
            return [], True
        for message in messages:
            if "ready" in message:
                self.ready, self._failures = True, 0
                self._prepared = message["prepared"]
                if self._sources is None:
                    self._sources = Sources(message["files"])
                self._sources.add(message["files"])
        return messages, ended

    @property
    def seconds_not_ready(self) -> float:
        """How long it has been importing; 0 if it is ready, or there is none."""
        return 0.0 if self.ready or self._process is None else time.monotonic() - self._asked_at

    def kill(self) -> None:
        """End it; its connection will say so."""
        if self._process is not None:
            self._process.kill()

    def fork(self, job: QueuedJob) -> None:
        """Ask for a runner."""
        descriptors = job.hand_over()
        with suppress(OSError):  # if it is gone, its end of the connection says so
            self.channel.send({"verb": "fork", "job": job.number}, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def load(self, regularizer: str, *, prepare: bool) -> None:
        """Ask it to import a regularizer, or to load its weights as well; it is not ready until that is done."""
        self.ready, self._asked_at = False, time.monotonic()
        with suppress(OSError):
            self.channel.send({"verb": "load", "regularizer": regularizer, "prepare": prepare})

    def change(self) -> str | None:
        """Return what has changed on disk since it was loaded."""
        return self._sources.change() if self._sources else None

    def ended(self) -> str:
        """Return how it ended, once its connection has."""
        self.ready = False
        self._failures += 1
        self.channel.close()
        code = self._process.wait() if self._process else 0
        self._process = None
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with code {code}"

    @property
    def pid(self) -> int:
        """Its process; 0 if there is none."""
        return self._process.pid if self._process else 0

    @property
    def is_started(self) -> bool:
        """There is one, ready or not."""
        return self._process is not None

    @property
    def fails_to_start(self) -> bool:
        """It has ended again and again without ever being ready."""
        return self._failures >= _MOST_FAILURES

    def stop(self) -> None:
        """End it, and the runners with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.channel.close()

    def describe(self) -> Message:
        """Return what it holds, for people."""
        if self._process is None:
            return {"ready": False, "pid": None, "megabytes": 0, "prepared": []}
        try:
            megabytes = psutil.Process(self._process.pid).memory_info().rss / 1e6
        except (psutil.Error, OSError):
            megabytes = 0.0
        return {
            "ready": self.ready,
            "pid": self._process.pid,
            "megabytes": round(megabytes),
            "prepared": self._prepared,
        }
