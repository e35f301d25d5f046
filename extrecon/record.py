"""The record: what was decided about one call, and why; written beside RELION's result as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from extrecon import __version__
from extrecon.errors import OutputError
from extrecon.system.files import replacing
from extrecon.system.json_text import printable, read_json_object, to_json
from extrecon.system.memory import peak_memory_megabytes

RECORD_FORMAT = 1
RECORD_SUFFIX = "_extrecon.json"

Outcome = Literal["plain", "regularized", "fallback", "failed", "unfinished", "measured"]


@dataclass
class Record:
    """Everything worth knowing about one call.

    Attributes
    ----------
    input : the STAR file of the call; the map, for a standalone command
    outcome : what RELION got.
        "plain": the plain map, as decided; "regularized": the regularized map; "fallback": the plain map, because
        the regularizer failed; "failed": nothing; "unfinished": the plain map, while the regularizer is at work
        (or was when the process was killed); "measured": a local-resolution map, outside refinement
    reason : why, in one clause
    result : where RELION will look for the map; null for a standalone command
    iteration, half, kind, number : of the file's name, null where it does not say
    joined : whether this is the last iteration, of both halves together
    healpix_order, local_healpix_order : of the iteration before; null if unknown
    regularizer : name, version, settings, weights' hash; null if none was loaded
    options, origins : effective options, and where each came from
    box, current_size, padding_factor, pixel_size_angstrom : sizes of the reconstruction
    map_term : whether tau2 entered the reconstruction
    gridding : whether gridding weights were iterated
    device : where the work was done
    daemon : who did it: "warm", the daemon that ran; "started", one started for this call; "restarted: …" for a
        reason; "in-process: …", without one for a reason; "off", as asked; empty for a standalone command
    other_half : how the other half-map came, for a regularizer that needs both: then the halves are not
        independent; or for the amplitudes alone: then one number a shell has crossed
    mask : which mask the regularizer had
    solvent_mask : with ``--mask-each-iteration``: RELION's mask as drawn in this call, its volume (Å³) and how it
        was found, or why it was left as it was; else null
    seed : of the regularizer's random numbers; null if none ran
    treatment : how the regularizer's density was blended with the half-map, its solvent flattened; of the joined
        map, whose shells stand beyond the cut-off
    safeguards : what they measured and did
    facts : what the regularizer tells about its work
    sharpening : of `extrecon regularize`: how fine the result looks and what the input's signal allows, or why that
        is unknown; else empty
    seconds : wall time a stage
    peak_memory_megabytes : the most memory of the process at work, on the host; null where the system does not tell
    maps : names of the regularizer's own maps, written beside the result
    warnings : sentences the user should read
    error : the error's text and traceback if something failed
    """

    input: str
    outcome: Outcome = "failed"
    reason: str = ""
    result: str | None = None
    iteration: int | None = None
    half: int | None = None
    kind: str | None = None
    number: int | None = None
    joined: bool = False
    healpix_order: int | None = None
    local_healpix_order: int | None = None
    regularizer: dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    box: int | None = None
    current_size: int | None = None
    padding_factor: float | None = None
    pixel_size_angstrom: float | None = None
    map_term: bool | None = None
    gridding: bool | None = None
    device: str | None = None
    daemon: str = ""
    other_half: dict[str, Any] | None = None
    mask: str | None = None
    solvent_mask: dict[str, Any] | None = None
    seed: int | None = None
    treatment: dict[str, Any] = field(default_factory=dict)
    safeguards: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    sharpening: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_megabytes: float | None = None
    maps: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: dict[str, str] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; a stage entered twice adds up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 4)

    def write(self, path: Path) -> None:
        """Write the record, replacing an old one in one step.

        Raises
        ------
        OutputError : the folder is read-only, or the disk is full.
        """
        self.peak_memory_megabytes = peak_memory_megabytes()
        content = {"format": RECORD_FORMAT, "extrecon": __version__, **vars(self)}
        with replacing(path) as temporary:
            temporary.write_text(to_json(content), "utf-8")


def write_or_warn(record: Record, path: Path) -> None:
    """Write the record; where it cannot be written, it warns of that itself, once: RELION needs the map alone."""
    try:
        record.write(path)
    except OutputError as error:
        told = f"the record could not be written: {error}"
        if told not in record.warnings:
            record.warnings.append(told)


def record_path(stem: Path) -> Path:
    """Return where the record of a job with this stem lies."""
    return stem.with_name(stem.name + RECORD_SUFFIX)


def maps_of_last_attempt(stem: Path) -> list[str]:
    """Return the names of the maps that an earlier attempt's record lists, if there is a readable one."""
    maps = _read(stem).get("maps")
    # Only this job's own files: a damaged record must not make anything else disappear.
    own = (name for name in (maps if isinstance(maps, list) else []) if isinstance(name, str))
    return [name for name in own if name.startswith(stem.name) and "/" not in name]


def regularizer_of(result: Path) -> str | None:
    """Return which regularizer made a map, by the record beside it; None if none did, as far as is known."""
    told = _read(result.with_suffix(""))
    found = told.get("regularizer")
    return str(found.get("name")) if told.get("outcome") == "regularized" and isinstance(found, dict) else None


def _read(stem: Path) -> dict[str, Any]:
    return read_json_object(record_path(stem))


def log_lines(record: Record, star: Path) -> list[str]:
    """Return what RELION's log is told about a call: one line, and one for each warning."""
    where = f"it{record.iteration:03d}" if record.iteration is not None else star.stem
    if record.half:
        where += f" half{record.half}"
    if record.kind:
        where += f" {record.kind}{record.number:03d}"
    seconds = sum(record.seconds.values())
    told = {
        "plain": f"plain map ({record.reason})",
        "regularized": f"regularized with {(record.regularizer or {}).get('name')} ({record.reason})",
        "fallback": f"WARNING: PLAIN MAP RETURNED ({record.reason})",
    }.get(record.outcome, f"ERROR: no map returned: {record.reason}")
    lines = [f"extrecon {where}: {told.rstrip('.')}, {seconds:.1f} s{_server(record)}"]
    lines += [f"extrecon {where}: warning: {warning}" for warning in record.warnings]
    return [printable(line) for line in lines]


def _server(record: Record) -> str:
    return {"": "", "off": "", "warm": ", warm", "started": ", daemon started"}.get(
        record.daemon, f", {record.daemon}"
    )
