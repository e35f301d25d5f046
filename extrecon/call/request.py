"""What RELION asks for in one call, handed on from the hook to whoever does the work. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from extrecon.options import Options


class Request(NamedTuple):  # a dataclass would cost the hook several milliseconds at start
    """One call of RELION, before anything of it has been read.

    Attributes
    ----------
    star : the STAR file that RELION wrote, as RELION named it
    options : effective options
    working_directory : RELION's; ``star``, and the paths in it, are relative to it
    """

    star: Path
    options: Options
    working_directory: Path

    @property
    def absolute(self) -> Request:
        """The same with an absolute path: whatever becomes of the working directory, files go where they belong."""
        return self._replace(star=self.working_directory / self.star)

    def to_message(self) -> dict[str, Any]:
        """Return the request as JSON takes it."""
        options = self.options
        return {
            "star": str(self.star),
            "working_directory": str(self.working_directory),
            "options": {
                "values": dict(options.values),
                "settings": dict(options.settings),
                "origins": dict(options.origins),
                "warnings": list(options.warnings),
            },
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Request:
        """Return the request that a message of `to_message` holds, whatever else it tells."""
        return cls(Path(message["star"]), Options(**message["options"]), Path(message["working_directory"]))
