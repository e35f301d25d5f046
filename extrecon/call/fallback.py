"""What is left to do when a working process was killed. Standard library only."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from extrecon.errors import WorkerDiedError
from extrecon.options import Options
from extrecon.record import RECORD_SUFFIX
from extrecon.system.relion_log import say, say_error


def plain_map_is_there(star: Path) -> bool:
    """Tell whether the plain map was on disk, and on record as such, when the work on ``star`` ended."""
    return _record(star).get("outcome") == "unfinished"


def after_death(star: Path, options: Options, signal_name: str) -> int:
    """Go on with the plain map if it is there, unless the user wants to fail; return the exit code for RELION."""
    record = _record(star)
    reason = f"the regularizing process was killed by {signal_name}; was memory short?"
    if record.get("outcome") != "unfinished" or options.text("on_error") == "fail":
        say_error(f"{star}: no map returned: {reason}")
        return WorkerDiedError.exit_code
    record |= {
        "outcome": "fallback",
        "reason": f"{record.get('reason')}; but {reason}",
        "error": {"text": reason, "traceback": ""},
    }
    with suppress(OSError):
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        _path(star).write_text(text, encoding="utf-8")
    say(f"extrecon {star.stem}: WARNING: PLAIN MAP RETURNED ({reason})")
    return 0


def _path(star: Path) -> Path:
    return star.with_name(star.stem + RECORD_SUFFIX)


def _record(star: Path) -> dict[str, object]:
    try:
        record = json.loads(_path(star).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
