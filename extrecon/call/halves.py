"""Waiting for the other half-map, through files beside the job: the two calls may run on two hosts.

Each half keeps a small status file in a folder that both see, and writes it again every second. A status left by an
earlier attempt, or by a process long dead, must never be taken for the other half's: each process draws a random
token, shows it, and believes in the other only once the other has shown that it read this token.

::

    half1 writes {token: a, seen: null}        half2 writes {token: b, seen: null}
    half1 reads b, writes {token: a, seen: b}  half2 reads a, writes {token: b, seen: a}

No clock is compared with another: a heartbeat is a number that changes or does not while the reader watches.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extrecon.errors import ExtreconError, RegularizerError
from extrecon.relion.job import Job
from extrecon.system.files import replacing
from extrecon.system.json_text import read_json_object
from extrecon.system.processes import boot_id, start_time

BEAT_SECONDS = 1.0
POLL_SECONDS = 0.05
SILENT_SECONDS = 30.0
"""A half on another host whose heartbeat stands still so long is taken for dead; network file systems are slow."""
FOLDER_SUFFIX = "_extrecon_halves"


@dataclass(frozen=True)
class Whereabouts:
    """Which process on which host: what tells whether it still lives.

    Attributes
    ----------
    host : name and boot of the machine
    pid, start_time : of the process
    """

    host: str
    pid: int
    start_time: int | None

    @classmethod
    def own(cls) -> Whereabouts:
        """Return this process's."""
        return cls(f"{socket.gethostname()} {boot_id()}", os.getpid(), start_time(os.getpid()))

    def is_known_dead(self, here: str) -> bool:
        """Tell whether the process ran on this host and runs no more; another host's cannot be known."""
        return self.host == here and start_time(self.pid) != self.start_time


class HalfExchange:
    """One half's side of the exchange. Use as a context manager: leaving it lets the other half know.

    Parameters
    ----------
    folder : which both halves see; made if need be
    half : 1 or 2
    whereabouts : this process's
    """

    def __init__(self, folder: Path, half: int, whereabouts: Whereabouts | None = None) -> None:
        self._folder = folder
        self._half = half
        self._where = whereabouts or Whereabouts.own()
        self._token = secrets.token_hex(8)
        self._status: dict[str, Any] = {"token": self._token, "state": "at work", "seen": None, **vars(self._where)}
        self._beats = 0
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._last_beat: tuple[Any, float] = (None, time.monotonic())

    def __enter__(self) -> HalfExchange:
        self._folder.mkdir(exist_ok=True)
        self._map_of(self._half).unlink(missing_ok=True)
        self._write()
        self._beating.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._beating.join()
        with suppress(ExtreconError, OSError):
            self._write(state="done" if kind is None else "gave up")
            other = self._other()
            believed = other.get("seen") == self._token
            if not believed:  # nobody relies on what lies here
                self._map_of(self._half).unlink(missing_ok=True)
                self._status_of(self._half).unlink(missing_ok=True)
                self._folder.rmdir()
            elif other.get("state") != "at work":
                shutil.rmtree(self._folder, ignore_errors=True)

    def offer(self, plain: Path) -> None:
        """Let the other half have this half's plain map."""
        with replacing(self._map_of(self._half)) as temporary:
            try:
                temporary.hardlink_to(plain)
            except OSError:
                shutil.copyfile(plain, temporary)
        self._write(state="at work", offers=True)

    def await_other(self, seconds: float) -> Path:
        """Return the other half's plain map, once it is there.

        Raises
        ------
        RegularizerError : it did not come within ``seconds``, or its process ended without it.
        """
        deadline = time.monotonic() + seconds
        name = f"half{3 - self._half}"
        while True:
            other = self._other()
            if other.get("token") and other["token"] != self._status["seen"]:
                self._write(seen=other["token"])
            if other.get("seen") == self._token:
                if other.get("offers"):
                    return self._map_of(3 - self._half)
                reason = self._why_lost(other)
                if reason is not None:
                    raise RegularizerError(f"{name} {reason}")
            if time.monotonic() >= deadline:
                raise RegularizerError(f"{name} did not come within {seconds:g} s")
            time.sleep(POLL_SECONDS)

    def _why_lost(self, other: dict[str, Any]) -> str | None:
        """Return why a half that was there will not offer a map any more; None while there is hope."""
        if other.get("state") == "gave up":
            return "gave up"
        where = Whereabouts(str(other.get("host")), int(other.get("pid", 0)), other.get("start_time"))
        if where.is_known_dead(self._where.host):
            return f"died: process {where.pid} is gone"
        now = time.monotonic()
        if other.get("beat") != self._last_beat[0]:
            self._last_beat = other.get("beat"), now
        silent = now - self._last_beat[1]
        return f"has been silent for {silent:.0f} s on {where.host.split()[0]}" if silent > SILENT_SECONDS else None

    def _status_of(self, half: int) -> Path:
        return self._folder / f"half{half}.json"

    def _map_of(self, half: int) -> Path:
        return self._folder / f"half{half}.mrc"

    def _other(self) -> dict[str, Any]:
        return read_json_object(self._status_of(3 - self._half))

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(ExtreconError):  # a full disk is the main thread's business
                self._write()

    def _write(self, **changes: Any) -> None:
        with self._writing:
            self._beats += 1
            self._status |= {"beat": self._beats, **changes}
            with replacing(self._status_of(self._half)) as temporary:
                temporary.write_text(json.dumps(self._status), encoding="utf-8")


def exchange_folder(job: Job) -> Path:
    """Return the folder that both halves of a job share; what earlier iterations left is removed.

    Raises
    ------
    RegularizerError : the call is not one of two halves.
    """
    name = job.name
    if name is None or name.half is None:
        raise RegularizerError("both half-maps are needed, and this call is not one of two halves.")
    pattern = re.compile(rf"{re.escape(name.root)}_it(\d+)_{name.kind}{name.number:03d}{re.escape(FOLDER_SUFFIX)}")
    for path in name.folder.glob(f"{name.root}_it*{FOLDER_SUFFIX}"):
        match = pattern.fullmatch(path.name)
        if match and int(match[1]) < name.iteration:
            shutil.rmtree(path, ignore_errors=True)
    return name.folder / f"{name.root}_it{name.iteration:03d}_{name.kind}{name.number:03d}{FOLDER_SUFFIX}"
