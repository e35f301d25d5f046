"""The one rule for the exit code, kept by who answers for the work and not by the work. Standard library only.

A new and whole map stands where RELION looks for it: 0, and the log tells what happened. None stands: not 0, and
the log tells why. Under ``--on-error fail`` a map is put there only if all went well, so the rule is the same.
What the working process says of itself does not count: a plugin may end it at any moment, with any code.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

from extrecon.call.request import Request
from extrecon.errors import ExtreconError, WorkerDiedError
from extrecon.record import RECORD_SUFFIX
from extrecon.system.files import replacing
from extrecon.system.json_text import printable, read_json_object, to_json
from extrecon.system.relion_log import say, say_error

SIGNAL_EXIT_BASE = 128
_HEADER_BYTES, _EXTENDED_AT, _FLOAT32, _FLOAT32_BYTES = 1024, 92, 2, 4
_FINISHED = ("plain", "regularized", "fallback")

Stamp = tuple[int, int, int]


class Aftermath:
    """What a call has left behind, compared with what lay there before it.

    Parameters
    ----------
    request : the call; make this object before the work begins
    """

    def __init__(self, request: Request) -> None:
        self._star = star = request.star
        self._fails_loudly = request.options.text("on_error") == "fail"
        self._usual_result = star.with_suffix(".mrc")
        self._record_path = star.with_name(star.stem + RECORD_SUFFIX)
        self._before = {path: _stamp(path) for path in (self._usual_result, self._record_path)}

    def regularizer_had_begun(self) -> bool:
        """Tell whether the work got as far as its regularizer: it would end in the same way again."""
        return bool(self._record())

    def conclude(self, code: int | None, reason: str) -> int:
        """Return the exit code for RELION.

        Parameters
        ----------
        code : what the work said last; None if it ended without a word
        reason : how it ended then, in one clause
        """
        result = self._new_map()
        if result is not None and code == 0:
            return 0
        if result is not None and code and self._fails_loudly:
            _remove(result)
            return code
        if result is None:
            return self._without_a_map(code, reason)
        record = self._record()
        if record.get("outcome") not in _FINISHED:
            self._tell_of_the_plain_map(reason or "the work went wrong at the very end")
        else:  # it was done, and something ended it before it could say so
            say(f"extrecon {self._star.stem}: {record['outcome']} ({record.get('reason')}); then {reason}")
        return 0

    def stopped(self, signal_name: str, number: int) -> int:
        """Return the exit code after a signal to the hook; a map that was there by then is taken away again."""
        result = self._new_map()
        if result is not None:
            _remove(result)
        record = self._record()
        if record:
            self._write(record | {"outcome": "failed", "reason": f"stopped by {signal_name}"})
        say_error(f"{self._star}: stopped by {signal_name}.")
        return SIGNAL_EXIT_BASE + number

    def _without_a_map(self, code: int | None, reason: str) -> int:
        if code:
            return code  # and the work has said why
        told = reason or "the work said that it was done, but there is no map"
        say_error(f"{self._star}: no map returned: {told}")
        record = self._record()
        if record:
            self._write(record | {"outcome": "failed", "reason": told, "error": {"text": told, "traceback": ""}})
        return WorkerDiedError.exit_code

    def _tell_of_the_plain_map(self, reason: str) -> None:
        record = self._record()
        record |= {
            "outcome": "fallback",
            "reason": f"{record.get('reason')}; but {reason}",
            "error": {"text": reason, "traceback": ""},
        }
        self._write(record)
        say(f"extrecon {self._star.stem}: WARNING: PLAIN MAP RETURNED ({reason})")

    def _write(self, record: dict[str, object]) -> None:
        with suppress(ExtreconError), replacing(self._record_path) as temporary:
            temporary.write_text(to_json(record), encoding="utf-8")

    def _record(self) -> dict[str, object]:
        """Return this call's record; empty if it has written none yet."""
        if _stamp(self._record_path) == self._before[self._record_path]:
            return {}
        return read_json_object(self._record_path)

    def _new_map(self) -> Path | None:
        """Return RELION's result if this call has put a whole map there."""
        named = self._record().get("result")
        # The work removes what an earlier one left before it writes a record.
        if isinstance(named, str) and named != printable(str(self._usual_result.absolute())):
            return Path(named) if is_whole_map(Path(named)) else None
        path = self._usual_result
        return path if _stamp(path) != self._before[path] and is_whole_map(path) else None


def is_whole_map(path: Path) -> bool:
    """Tell whether a file is an MRC map of real numbers, as long as its header says."""
    if not path.is_file():
        return False  # a pipe would not even open
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            length = os.fstat(file.fileno()).st_size
    except OSError:
        return False
    if len(header) < _HEADER_BYTES:
        return False
    columns, rows, sections, mode = struct.unpack_from("<4i", header)
    (extended,) = struct.unpack_from("<i", header, _EXTENDED_AT)
    if mode != _FLOAT32 or min(columns, rows, sections) < 1 or extended < 0:
        return False
    expected: int = _HEADER_BYTES + extended + _FLOAT32_BYTES * columns * rows * sections
    return length == expected


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
