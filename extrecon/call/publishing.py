"""What a call leaves in RELION's folder: the maps, each replaced whole, and nothing of an earlier attempt's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import ExtreconError, OutputError
from extrecon.record import maps_of_last_attempt, record_path
from extrecon.relion.job import Job
from extrecon.relion.names import output_stem
from extrecon.system.files import replacing, temporary_prefix
from extrecon.system.json_text import text_of

_ACCUMULATORS = ("data_real", "data_imag", "weight")
_OURS = ("plain", "regularized", "out", "extrecon", "extrecon_halves")
_MAP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(_[A-Za-z0-9-]+)*")
_LONGEST_MAP_NAME = 60


def remove_stale(star: Path, job: Job | None) -> None:
    """Remove what an earlier attempt left: RELION would accept it without a look.

    Raises
    ------
    OutputError : something cannot be removed.
    """
    stem = output_stem(star)
    stale = [stem.with_name(stem.name + end) for end in (".mrc", "_out.star", "_plain.mrc", "_regularized.mrc")]
    stale += [beside(stem, name) for name in _names_of_last_attempt(stem)]
    stale.append(record_path(stem))
    stale += stem.parent.glob(f"{temporary_prefix(stem)}*.tmp")
    inputs: set[Path] = set()
    if job is not None:
        stale += [path for path in (job.result, job.result_star) if path is not None]
        inputs = {path.absolute() for path in (job.data_real, job.data_imag, job.weight)}
    for path in stale:
        if path.absolute() in inputs:  # a name of ours, but RELION's file
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: an earlier result cannot be removed: {error.strerror}.") from error


def beside(stem: Path, name: str) -> Path:
    """Return the path of a further map of the job with this stem."""
    return stem.with_name(f"{stem.name}_{name}.mrc")


def is_free_name(name: object) -> bool:
    """Tell whether a plugin's map may bear a name: one plain word that is neither RELION's nor extrecon's."""
    if not isinstance(name, str) or len(name) > _LONGEST_MAP_NAME or _MAP_NAME.fullmatch(name) is None:
        return False
    return name not in (*_ACCUMULATORS, *_OURS)


def _names_of_last_attempt(stem: Path) -> list[str]:
    """Return the names of a plugin's maps by an old record, which may be damaged or somebody else's."""
    named = (path.removeprefix(f"{stem.name}_").removesuffix(".mrc") for path in maps_of_last_attempt(stem))
    return [name for name in named if is_free_name(name)]


def give_second_name(source: Path, target: Path) -> None:
    """Let ``target`` be what ``source`` is; a map is never written in place, so both stay what they are.

    Raises
    ------
    OutputError : as `replacing`.
    """
    with replacing(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(source)
        except OSError:
            temporary.write_bytes(source.read_bytes())  # not every file system has links


def remove_if_possible(path: Path) -> None:
    """Remove what only takes up room."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def write_plugin_maps(
    stem: Path, maps: Mapping[Any, Any], write: Callable[[Path, npt.NDArray[np.float32]], None]
) -> tuple[list[str], list[str]]:
    """Write a plugin's own maps beside the result; return their files' names, and why others were left out.

    They are extras: one that cannot be written does not spoil the result. ``write`` puts one map at a path.
    """
    written, warnings = [], []
    for name, values in maps.items():
        try:
            if not is_free_name(name):
                raise OutputError("the name is RELION's, extrecon's, or not one plain word")
            write(beside(stem, name), as_map(values))
        except (ExtreconError, ValueError, TypeError) as error:
            warnings.append(f"the regularizer's map '{text_of(name)}' was not written: {text_of(error)}")
        else:
            written.append(beside(stem, name).name)
    return written, warnings


def as_map(values: object) -> npt.NDArray[np.float32]:
    """Return a plugin's map as float32.

    Raises
    ------
    ValueError, TypeError : it is not a volume of real numbers.
    """
    array = np.asarray(values)
    if array.ndim != 3 or array.dtype.kind not in "fiub":
        raise ValueError(f"it is not a volume of real numbers, but {array.dtype} of shape {array.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32)


def remove_accumulators(job: Job) -> list[str]:
    """Remove RELION's accumulators of a call, which nobody reads again; return why one is still there."""
    warnings = []
    for path in (job.data_real, job.data_imag, job.weight):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            warnings.append(f"{path}: the accumulator cannot be removed: {error.strerror}")
    return warnings
