"""What RELION's file names say.

``<root>_it<NNN>[_half1|_half2][_class<NNN>|_body<NNN>]<ending>``; a continued run adds ``_ct<NN>`` to its root, and
its root may hold any further ``_``. What a finished refinement leaves at its very end bears no iteration:
``<root>_model.star``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from extrecon.errors import StarError
from extrecon.record import RECORD_SUFFIX

SAMPLING, OPTIMISER, MODEL, DATA = "_sampling.star", "_optimiser.star", "_model.star", "_data.star"
CALL = "_external_reconstruct.star"
CALL_RECORD = CALL.removesuffix(".star") + RECORD_SUFFIX
ACCUMULATORS = tuple(f"_external_reconstruct_{what}.mrc" for what in ("data_real", "data_imag", "weight"))

MADE_MASK = "_extrecon_mask.mrc"
"""How the name of a solvent mask ends that extrecon may replace."""

# No ending holds a digit, so a root that looks like a name itself is told from what follows it.
_OF_AN_ITERATION = re.compile(
    r"(?P<root>.*)_it(?P<iteration>\d{3,})(?:_half(?P<half>[12]))?"
    r"(?:_(?P<kind>class|body)(?P<number>\d{3,}))?(?P<ending>_[a-z_]+\.[a-z]+)"
)
_ITERATION = re.compile(r".*_it(\d{3,})(?=[_.])")
_CONTINUED = re.compile(r"_ct(\d+)$")


class FileName(NamedTuple):
    """The parts of a file's name that bears an iteration.

    Attributes
    ----------
    root : RELION's output name without the folder, with ``_ctNN`` if the run was continued
    iteration : N
    half : 1 or 2; None if the file is about both
    kind : "class" or "body"; None if the file is about the whole iteration
    number : of the class or body, from 1; 0 without
    ending : such as `SAMPLING`
    """

    root: str
    iteration: int
    half: int | None
    kind: str | None
    number: int
    ending: str


def parse_file_name(name: str) -> FileName | None:
    """Return what a file's name, without its folder, says; None if it bears no iteration."""
    match = _OF_AN_ITERATION.fullmatch(name)
    if match is None:
        return None
    half, number = match["half"], match["number"]
    return FileName(
        root=match["root"],
        iteration=int(match["iteration"]),
        half=int(half) if half else None,
        kind=match["kind"],
        number=int(number) if number else 0,
        ending=match["ending"],
    )


def iteration_of(name: str) -> int | None:
    """Return the iteration that any file's name bears, maps too, which have no ending; None if it bears none."""
    found = _ITERATION.search(name)
    return int(found[1]) if found else None


def original_root(root: str) -> str:
    """Return the root that a run had before it was continued for the first time."""
    return _CONTINUED.sub("", root)


def is_restated(root: str, iteration: int) -> bool:
    """Tell whether files of this name only repeat the iteration that a run was continued from.

    RELION writes them anew under the continued run's root before it begins.
    """
    match = _CONTINUED.search(root)
    return match is not None and int(match[1]) == iteration


def root_of_optimiser(name: str) -> str | None:
    """Return the root of an optimiser file, that of the last iteration as well; None if it is no such file."""
    if not name.endswith(OPTIMISER):
        return None
    parts = parse_file_name(name)
    return parts.root if parts and parts.ending == OPTIMISER else name.removesuffix(OPTIMISER)


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
        return original_root(self.root)

    @property
    def label(self) -> str:
        """Short form for people, such as ``it011 half2 class001``."""
        half = f" half{self.half}" if self.half else ""
        return f"it{self.iteration:03d}{half} {self.kind}{self.number:03d}"


def parse_job_name(star: Path) -> JobName | None:
    """Return what the file's name says; None if RELION's refinement did not name it so."""
    parts = parse_file_name(star.name)
    if parts is None or parts.kind is None or parts.ending != CALL:
        return None
    return JobName(star.parent, parts.root, parts.iteration, parts.half, parts.kind, parts.number)


def unfiltered_half_map(name: JobName, half: int) -> Path:
    """Return the path of a half's map without prior, which RELION writes where it corrects the FSC."""
    what = f"{name.kind}{name.number:03d}"
    return name.folder / f"{name.root}_it{name.iteration:03d}_half{half}_{what}_unfil.mrc"


def body_masks(name: JobName) -> list[Path]:
    """Return where RELION may have written its mask of a body: under the run's root, or under the first run's."""
    roots = dict.fromkeys((name.root, name.original_root))
    return [name.folder / f"{root}_body{name.number:03d}_mask.mrc" for root in roots]


def output_stem(star: Path) -> Path:
    """Return the path, without its suffix, that all files about this job share.

    Raises
    ------
    StarError : the path does not end in ``.star``.
    """
    if star.suffix != ".star":
        raise StarError(f"{star}: the path of a STAR file ends in .star.")
    return star.with_suffix("")
