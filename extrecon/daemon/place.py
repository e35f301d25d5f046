"""Where the daemon is found: a private folder with its socket, status file and locks. Standard library only.

The folder is short and local: Unix sockets have 107 bytes for their path, and TMPDIR is lengthened by mpiexec.
A lock that the daemon holds as long as it lives tells whether there is one; the kernel lets go of it however the
daemon ends.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from extrecon.errors import DaemonError
from extrecon.system.json_text import read_json_object
from extrecon.system.processes import boot_id, start_time

RUNTIME_VARIABLE = "EXTRECON_RUNTIME_DIR"
LONGEST_SOCKET_PATH = 107
DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "LSB_JOBINDEX", "OAR_JOB_ID", "FLUX_JOB_ID")
GRID_ENGINE_JOB = ("SGE_ROOT", "JOB_ID", "SGE_TASK_ID")
"""Grid Engine's names of a job are common words: they count only where its own variable is set as well."""
NAMESPACES = ("mnt", "pid", "user")


class Place:
    """The files of one daemon: one a host, user, set of visible devices, container and cluster job.

    Attributes
    ----------
    folder : private to the user
    socket : where the daemon listens
    status : who it is, as JSON
    lock : held by the daemon as long as it lives
    start_lock : held by a client while it starts one
    log : the daemon's standard error
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.socket = folder / f"{name}.sock"
        self.status = folder / f"{name}.json"
        self.lock = folder / f"{name}.lock"
        self.start_lock = folder / f"{name}.start"
        self.log = folder / f"{name}.log"

    def prepare(self) -> None:
        """Make the folder, or make sure that it is safe to use.

        Raises
        ------
        DaemonError : it belongs to someone else, is open to others, is no folder, or its path is too long.
        """
        length = len(os.fsencode(self.socket))
        if length > LONGEST_SOCKET_PATH:
            raise DaemonError(
                f"the socket's path {self.socket} has {length} bytes, and {LONGEST_SOCKET_PATH} are possible; "
                f"set {RUNTIME_VARIABLE} to a shorter folder"
            )
        _make_private(self.folder)

    def read_status(self) -> dict[str, Any]:
        """Return what the status file says; empty if there is none, or it is damaged."""
        return read_json_object(self.status)

    def owner(self) -> int | None:
        """Return the process of the status file if it is the very process that wrote it, else None."""
        told = self.read_status()
        pid = told.get("pid")
        if not isinstance(pid, int) or told.get("boot") != boot_id():
            return None
        return pid if told.get("start_time") == start_time(pid) else None

    def clear(self) -> None:
        """Remove everything; only who holds the lock may."""
        for path in (self.socket, self.status, self.log, self.start_lock, self.lock):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def clear_if_unused(self) -> None:
        """Remove what a daemon that was killed has left, unless another one has taken its place."""
        with suppress(OSError):
            lock = take_lock(self.lock) if self.folder.is_dir() else None
            if lock is not None:
                self.clear()
                os.close(lock)


def find_place(environ: Mapping[str, str]) -> Place:
    """Return where the daemon of this host, user, device set, container and cluster job is, or would be.

    The same path may be another file in another mount namespace, and the same number another process in another
    process namespace. A daemon of another cluster job works on that job's account and ends with it. Control groups
    as such do not count: some launchers give each rank, and some systems each login, one of its own, and all of
    them would get daemons of their own.

    Raises
    ------
    DaemonError : the folder given for it is not absolute.
    """
    grid_engine = GRID_ENGINE_JOB if GRID_ENGINE_JOB[0] in environ else ()
    names = (*DEVICE_VARIABLES, *JOB_VARIABLES, *grid_engine)
    told = [f"{name}={environ[name]}" for name in names if name in environ]
    key = "|".join([socket.gethostname(), *told, *(namespace(name) for name in NAMESPACES)])
    return Place(_folder(environ), f"{zlib.crc32(key.encode(errors='surrogateescape')):08x}")


def namespace(kind: str, process: int | str = "self") -> str:
    """Return which namespace of a kind ("mnt", say) a process is in; empty if the system does not tell."""
    try:
        return os.readlink(f"/proc/{process}/ns/{kind}")  # noqa: PTH115  not a path
    except OSError:
        return ""


def _folder(environ: Mapping[str, str]) -> Path:
    given = environ.get(RUNTIME_VARIABLE)
    if given:
        if not os.path.isabs(given):  # noqa: PTH117  as it is spelt
            raise DaemonError(f"{RUNTIME_VARIABLE} is {given!r}, but must be an absolute path, such as /tmp/mine")
        return Path(given)
    session = environ.get("XDG_RUNTIME_DIR")
    if session and _usable(session):
        return Path(session, "extrecon")
    return Path(f"/tmp/extrecon-{os.geteuid()}")


def _usable(folder: str) -> bool:
    """Tell whether a session's folder is there, is ours, and leaves room for a socket's name."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return ours and os.access(folder, os.W_OK) and len(os.fsencode(folder)) < LONGEST_SOCKET_PATH - 32


def _make_private(folder: Path) -> None:
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise DaemonError(f"the folder {folder} cannot be made: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise DaemonError(f"{folder} is not a folder")
    if found.st_uid != os.geteuid():
        raise DaemonError(f"the folder {folder} belongs to user {found.st_uid}, not to user {os.geteuid()}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise DaemonError(f"the folder {folder} is open to others (mode {mode:o}); chmod 700 would mend that")


def take_lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None if someone else holds it; close it to let go.

    Raises
    ------
    OSError : the folder is gone, or not writable.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        # Whoever held it before may have removed the file meanwhile: a lock on a file without a name is no lock.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)
