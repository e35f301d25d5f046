"""Every error that extrecon raises on purpose, each with the exit code of the program.

::

    ExtreconError            1   anything below
    ├── UsageError           2   options that make no sense, or contradict each other
    ├── InputError           3   a file of the user's or of RELION's cannot be used
    │   ├── StarError        3     … a STAR file
    │   └── MapError         3     … an MRC file
    ├── RegularizerError     4   a regularizer is unknown, refused, or failed
    ├── SafeguardError       5   a regularizer's map was not safe to return
    ├── OutputError          6   a result could not be written
    ├── DeviceError          7   the asked-for device makes no sense
    │   └── DeviceMissingError 7 … or is not there
    ├── WorkerDiedError      8   the working process was killed before it had a map to return
    ├── DaemonError          9   the daemon cannot be used
    ├── RefinementError      10  a refinement of a comparison failed
    └── PackageMissingError  11  an optional package is not installed

An interrupted program leaves with 128 plus the signal's number, as a shell would. Standard library only: the
hook imports this file before anything else.
"""

from __future__ import annotations

from typing import ClassVar


class ExtreconError(Exception):
    """Base of all errors that extrecon raises on purpose; its text is a sentence for the user."""

    exit_code: ClassVar[int] = 1


class UsageError(ExtreconError):
    """Options that make no sense or contradict each other."""

    exit_code = 2


class InputError(ExtreconError):
    """A file that should be read cannot be used."""

    exit_code = 3


class StarError(InputError):
    """A STAR file is missing, damaged, or lacks what RELION's contract promises."""


class MapError(InputError):
    """An MRC file is missing, damaged, or of the wrong shape."""


class RegularizerError(ExtreconError):
    """A regularizer is unknown, cannot work on this map, or failed."""

    exit_code = 4


class SafeguardError(ExtreconError):
    """A regularizer's map was refused: not finite, wrong shape, shifted, or too far from the half-map."""

    exit_code = 5


class OutputError(ExtreconError):
    """A result could not be written."""

    exit_code = 6


class DeviceError(ExtreconError):
    """The asked-for compute device makes no sense."""

    exit_code = 7


class DeviceMissingError(DeviceError):
    """The asked-for compute device is not there."""


class WorkerDiedError(ExtreconError):
    """The working process ended before it had any map to return."""

    exit_code = 8


class DaemonError(ExtreconError):
    """The daemon cannot be started, reached or trusted; the hook then works by itself."""

    exit_code = 9


class RefinementError(ExtreconError):
    """A refinement that a comparison started failed; the others went on."""

    exit_code = 10


class PackageMissingError(ExtreconError):
    """A package that only some commands need is not installed."""

    exit_code = 11
