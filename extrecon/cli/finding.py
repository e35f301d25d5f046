"""What one of `extrecon doctor`'s checks finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    what : the thing looked at
    state : "good", "note" (works, but look here) or "bad" (a refinement would fail)
    found : what was found
    advice : what to do; empty if nothing
    """

    what: str
    state: Literal["good", "note", "bad"]
    found: str
    advice: str = ""


def guarded(what: str, check: Callable[[], Finding | Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; whatever it raises becomes a red line, for a doctor must not fall ill."""
    try:
        found = check()
        yield from [found] if isinstance(found, Finding) else found
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is, it is what the user came to hear of
        yield Finding(
            what, "bad", f"{type(error).__name__}: {error}", "reinstall what it names, or mend that place"
        )
