"""One call of the hook that a fault will happen to, and what must hold of it afterwards."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import psutil

from tests.jobs import BOX, noisy_blobs, write_job

HOOK = str(Path(sys.executable).with_name("extrecon-hook"))
NAME = "run_it005_half1_class001"
TIME_LIMIT_SECONDS = 3
HANG_SECONDS = 60.0
_SETTLE_SECONDS = 5.0
PRECIOUS = "notes.txt"


@dataclass
class Case:
    """A job on disk and how the hook is called for it.

    Attributes
    ----------
    folder : RELION's working directory
    rng : of this case alone
    options : of the hook
    environ : of the hook
    before : words before the command, such as a shell that sets limits
    popen : further arguments of `subprocess.Popen`
    working_directory : where the hook is started; the job's folder unless they have two names
    untouched : a folder in which nothing may change
    told : what was done, for people
    killed : the hook itself was killed, so that nobody is there to answer
    mute : the hook may end before it can say a word
    """

    folder: Path
    rng: random.Random
    environ: dict[str, str]
    options: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    popen: dict[str, Any] = field(default_factory=dict)
    working_directory: Path | None = None
    untouched: Path | None = None
    told: str = ""
    killed: bool = False
    mute: bool = False
    _inputs: dict[str, bytes] = field(default_factory=dict)

    @property
    def star(self) -> Path:
        """The STAR file of the call."""
        return self.folder / f"{NAME}_external_reconstruct.star"

    def beside(self, ending: str) -> Path:
        """Return a file of the job by its ending."""
        return self.folder / f"{self.star.stem}{ending}"

    @property
    def fails_loudly(self) -> bool:
        """The hook was told to fail rather than to go on with the plain map."""
        return "fail" in self.options

    def start(self) -> subprocess.Popen[bytes]:
        """Remember the inputs as they are now, and start the hook."""
        (self.folder / PRECIOUS).write_text("precious")
        self._inputs = {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}
        command = [HOOK, "--gate-wait", "0", "--time-limit", str(TIME_LIMIT_SECONDS), *self.options, self.star.name]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [*self.before, *command],
                cwd=self.working_directory or self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self.popen,
            )

    def output(self) -> str:
        """Return what the hook said; a file holds it, since whoever outlives the hook would keep a pipe open."""
        return self._log.read_text(errors="replace")

    @property
    def _log(self) -> Path:
        return self.folder.with_name(self.folder.name + "-log")

    def violations(self, code: int, output: str, seconds: float) -> list[str]:
        """Return which rules did not hold."""
        found = [] if seconds < HANG_SECONDS else [f"hang: {seconds:.0f} s"]
        found += self._files_that_are_wrong()
        valid = self._valid_map()
        if self.killed:
            return found
        if code == 0 and not valid:
            found.append("exit 0 without a valid map")
        if code != 0 and valid:
            found.append(f"exit {code} with a valid map")
        if code == 0 and self.fails_loudly and "PLAIN MAP RETURNED" in output:
            found.append("a fallback under --on-error fail")
        if "extrecon" not in output and not self.mute:
            found.append(f"exit {code} without a word in the log")
        return found

    def _files_that_are_wrong(self) -> list[str]:
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not self.killed and self._unfinished() and time.monotonic() < deadline:
            time.sleep(0.05)
        found = [] if self.killed else [f"left behind: {path.name}" for path in self._unfinished()]
        for path in self.folder.iterdir():
            if path.name in self._inputs:
                if path.read_bytes() != self._inputs[path.name]:
                    found.append(f"an input was changed: {path.name}")
            elif path.suffix == ".mrc" and not is_complete_map(path):
                found.append(f"half-written or foreign: {path.name}")
            elif path.name.endswith("_extrecon.json") and not _is_record(path):
                found.append(f"no record: {path.name}")
            elif not path.name.startswith((self.star.stem, ".", "core")):
                found.append(f"foreign: {path.name}")
        if self.untouched is not None and {p.name for p in self.untouched.iterdir()} != set(self._inputs):
            found.append(f"somebody else's folder was changed: {self.untouched}")
        found += [f"an input is gone: {name}" for name in self._inputs if not (self.folder / name).exists()]
        return found

    def _unfinished(self) -> list[Path]:
        return list(self.folder.glob(".*.tmp"))

    def _valid_map(self) -> bool:
        return is_complete_map(self.beside(".mrc"))


def is_complete_map(path: Path) -> bool:
    """Tell whether a file is a whole map of the job's box with finite values."""
    try:
        with mrcfile.open(path) as mrc:
            values = np.asarray(mrc.data)
    except (OSError, ValueError):
        return False
    return values.shape == (BOX,) * 3 and bool(np.isfinite(values).all()) and bool(values.any())


def _is_record(path: Path) -> bool:
    try:
        return "outcome" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def make_template(folder: Path) -> Path:
    """Write the job that every case starts from."""
    write_job(folder, name=NAME, density=noisy_blobs())
    star = folder / f"{NAME}_external_reconstruct.star"
    star.write_text(star.read_text().replace(f"{folder}/", ""))
    return folder


def copy_template(template: Path, folder: Path, rng: random.Random, environ: Mapping[str, str]) -> Case:
    """Return a new case from the template."""
    shutil.copytree(template, folder)
    return Case(folder, rng, dict(environ))


def end_whatever_is_left(folder: Path) -> None:
    """Kill what still runs in a case's folder or was told to use it: stopped and orphaned processes."""
    for process in psutil.process_iter():
        try:
            if process.pid != psutil.Process().pid and Path(process.cwd()) == folder:
                process.send_signal(signal.SIGKILL)
        except (psutil.Error, OSError):
            continue
