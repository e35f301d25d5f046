"""One real refinement: started, watched, stopped, paid for, told about if it fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import psutil

from extrecon.errors import RefinementError, UsageError
from extrecon.relion.program import VARIABLE

LOG = "log.txt"
# Open MPI refuses to start as root, as continuous integration does, without these.
_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
_POLL_SECONDS = 0.25
_GRACE_SECONDS = 5.0
_TAIL_LINES = 15
_UNKNOWN = re.compile(r"Option (--\S+)\s+is not a valid RELION argument")


@dataclass(frozen=True)
class Cost:
    """What a refinement took.

    Attributes
    ----------
    wall_seconds : from start to end
    cpu_seconds : of RELION and all that it called
    peak_memory_bytes : largest sum of resident sizes, sampled four times a second; memory that processes share
        counts for each
    """

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


def refine(
    words: Sequence[str],
    arm_command: str,
    working_directory: Path,
    job: Path,
    *,
    stop: Event | None = None,
    until: Callable[[], bool] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Cost:
    """Run a RELION command to its end, and write its output to ``log.txt`` in the job's folder.

    However this function is left, no process that it started goes on.

    Parameters
    ----------
    words : the command
    arm_command : what RELION calls for each reconstruction
    working_directory : where RELION starts
    job : folder of the results, which must be there
    stop : ends the refinement when it is set
    until : asked about four times a second; when it says yes the refinement has done enough, and is ended in order
    variables : further environment variables

    Raises
    ------
    UsageError : the command cannot be started.
    RefinementError : RELION failed, or was stopped.
    """
    environ = os.environ | _AS_ROOT | dict(variables or {}) | {VARIABLE: arm_command}
    began = time.monotonic()
    with (job / LOG).open("wb") as log:
        try:
            process = subprocess.Popen(
                list(words),
                cwd=working_directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # a key on the terminal is for the comparison, which then ends it in order
            )
        except OSError as error:
            raise UsageError(f"{words[0]}: cannot be run: {error.strerror}.") from error
        family: list[psutil.Process] = []
        enough = False
        try:
            cpu_seconds, peak = _watch(process, stop, family, until)
            enough = process.returncode is None and (stop is None or not stop.is_set())
        finally:
            _end(process, family)
    if stop is not None and stop.is_set():
        raise RefinementError(f"{job}: stopped.")
    if process.returncode != 0 and not enough:
        raise RefinementError(_what_went_wrong(job, process.returncode))
    return Cost(time.monotonic() - began, cpu_seconds, peak)


def _watch(
    process: subprocess.Popen[bytes],
    stop: Event | None,
    family: list[psutil.Process],
    until: Callable[[], bool] | None,
) -> tuple[float, int]:
    """Wait for the end; return CPU seconds and the peak of memory (bytes), and keep whom the process had last."""
    peak = 0
    while stop is None or not stop.is_set():
        # Popen's own waiting forgets what the process used.
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime, peak
        family[:] = _family(process.pid)
        peak = max(peak, sum(_resident(each) for each in family))
        if until is not None and until():
            return sum(_cpu_seconds(each) for each in family), peak
        time.sleep(_POLL_SECONDS)
    return 0.0, peak


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _cpu_seconds(process: psutil.Process) -> float:
    """Return what a process has used, and those it has started and seen end."""
    with suppress(psutil.Error):
        return float(sum(process.cpu_times()[:4]))
    return 0.0


def _end(process: subprocess.Popen[bytes], family: list[psutil.Process]) -> None:
    """Stop what still runs: MPI's launcher may end its ranks in order, then all that is left is killed.

    A launcher that was itself killed leaves its ranks behind, hence those that it was last seen with.
    """
    if process.returncode == 0:
        return
    if process.returncode is None:
        family[:] = _family(process.pid)  # ranks lead groups of their own, so the launcher's does not hold them
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()  # psutil tells a number used again from the process that was meant
    process.wait()
    psutil.wait_procs(family, timeout=_GRACE_SECONDS)


def unknown_options(job: Path) -> list[str]:
    """Return the options that RELION did not know: it warns in its log and goes on without them."""
    with (job / LOG).open(errors="replace") as log:
        return sorted({found[1] for line in log if (found := _UNKNOWN.search(line))})


def _what_went_wrong(job: Path, code: int) -> str:
    lines = (job / LOG).read_text(errors="replace").replace("\r", "\n").splitlines()
    tail = "\n".join(line for line in lines if line.strip()).splitlines()[-_TAIL_LINES:]
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    told = "\n".join(f"    {line}" for line in tail) or "    (nothing)"
    return f"{job}: RELION {how}. The end of {LOG}:\n{told}"
