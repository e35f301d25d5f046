"""What the name of an external-reconstruction STAR file says.

``<root>_it<NNN>[_half1|_half2]_class<NNN>|_body<NNN>_external_reconstruct.star``; a continued run adds ``_ct<NN>``
to its root, and its root may hold any further ``_``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from extrecon.errors import StarError

_PATTERN = re.compile(
    r"(?P<root>.*)_it(?P<iteration>\d{3,})(?:_half(?P<half>[12]))?"
    r"_(?P<kind>class|body)(?P<number>\d{3,})_external_reconstruct\.star"
)
_CONTINUED = re.compile(r"_ct\d+$")


@dataclass(frozen=True)
class JobName:
    """The parts of a job's name.

    Attributes
    ----------
    folder : where RELION writes this refinement
    root : RELION's output name without the folder, with ``_ctNN`` if the run was continued
    iteration : N
    half : 1 or 2; None in 3D classification and in a refinement's last, joined iteration
    kind : "class" or "body"
    number : of the class or body, from 1
    """

    folder: Path
    root: str
    iteration: int
    half: int | None
    kind: str
    number: int

    @property
    def original_root(self) -> str:
        """The root before the run was continued for the first time."""
        return _CONTINUED.sub("", self.root)

    @property
    def label(self) -> str:
        """Short form for people, such as ``it011 half2 class001``."""
        half = f" half{self.half}" if self.half else ""
        return f"it{self.iteration:03d}{half} {self.kind}{self.number:03d}"


def parse_job_name(star: Path) -> JobName | None:
    """Return what the file's name says; None if RELION's refinement did not name it so."""
    match = _PATTERN.fullmatch(star.name)
    if match is None:
        return None
    half = match["half"]
    return JobName(
        folder=star.parent,
        root=match["root"],
        iteration=int(match["iteration"]),
        half=int(half) if half else None,
        kind=match["kind"],
        number=int(match["number"]),
    )


def output_stem(star: Path) -> Path:
    """Return the path, without its suffix, that all files about this job share.

    Raises
    ------
    StarError : the path does not end in ``.star``.
    """
    if star.suffix != ".star":
        raise StarError(f"{star}: the path of a STAR file ends in .star.")
    return star.with_suffix("")
