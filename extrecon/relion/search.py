"""How RELION searched orientations: what the files of the iteration before tell.

The order used in iteration N is written only after the external call, so iteration N-1's files are read. They
may live on a network file system that shows them late: a missing or half-written file is waited for briefly,
and what could not be learnt is said.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extrecon.errors import StarError
from extrecon.relion import labels
from extrecon.relion.command import Command, initial_low_pass, iterates_gridding
from extrecon.relion.job import Job
from extrecon.relion.names import MODEL, OPTIMISER, SAMPLING, JobName, original_root, parse_file_name
from extrecon.relion.star import StarFile, read_star

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class SearchState:
    """What is known of the iteration before; None where a file did not tell.

    Attributes
    ----------
    healpix_order : order of the angular grid
    local_healpix_order : order from which RELION searches locally
    point_group : as RELION's ``--sym``
    split_halves : whether this is a refinement of two half sets
    solvent_mask : the user's mask, as RELION names it
    pixel_size_angstrom, particle_diameter_angstrom : Å
    initial_low_pass_angstrom : what the starting reference was low-passed to, Å; None also if it was not
    initial_low_pass_is_known : whether a command line tells it; RELION does not repeat it when it continues
    sequential_halves : whether RELION reconstructs half2 only after half1 has ended
    iterates_gridding : whether RELION iterates gridding weights when it reconstructs by itself; None if unknown
    by_gradient : whether RELION 4 or 5 refines by gradient descent, as in ab initio models
    problems : a sentence for each file that could not be used
    """

    healpix_order: int | None = None
    local_healpix_order: int | None = None
    point_group: str | None = None
    split_halves: bool | None = None
    solvent_mask: str | None = None
    pixel_size_angstrom: float | None = None
    particle_diameter_angstrom: float | None = None
    initial_low_pass_angstrom: float | None = None
    initial_low_pass_is_known: bool = False
    sequential_halves: bool = False
    iterates_gridding: bool | None = None
    by_gradient: bool = False
    problems: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool | None:
        """Whether orientations are searched locally; None if unknown."""
        if self.healpix_order is None or self.local_healpix_order is None:
            return None
        return self.healpix_order >= self.local_healpix_order


def solvent_mask_of(optimiser: Path) -> str | None:
    """Return the solvent mask that an optimiser file names; None if it names none.

    Raises
    ------
    StarError : the file is missing or damaged.
    """
    mask = read_star(optimiser, first_block_only=True).text("optimiser_general", labels.SOLVENT_MASK)
    return None if mask in ("", "None") else mask


def pixel_size_of(job: Job) -> float | None:
    """Return the pixel size that a job's file tells, or the iteration before it, Å; None if neither does."""
    if job.pixel_size_angstrom is not None or job.name is None:
        return job.pixel_size_angstrom
    return read_search_state(job.name, wait_seconds=0.0).pixel_size_angstrom


def read_search_state(
    name: JobName, wait_seconds: float, awaited: Collection[str] = (SAMPLING, OPTIMISER, MODEL)
) -> SearchState:
    """Read iteration N-1's sampling, optimiser and model files.

    Parameters
    ----------
    name : the job's
    wait_seconds : how long to wait, for all files together
    awaited : which of them are worth waiting for
    """
    deadline = time.monotonic() + wait_seconds
    found: dict[str, Any] = {}
    problems: list[str] = []
    for suffix, read in ((SAMPLING, _from_sampling), (OPTIMISER, _from_optimiser), (MODEL, _from_model)):
        try:
            found |= _read_until(name, suffix, read, deadline if suffix in awaited else 0.0)
        except StarError as error:
            problems.append(str(error))
    return SearchState(**found, problems=tuple(problems))


def _read_until(
    name: JobName, suffix: str, read: Callable[[StarFile], dict[str, Any]], deadline: float
) -> dict[str, Any]:
    while True:
        try:
            return read(read_star(_previous_file(name, suffix), first_block_only=True))
        except StarError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(POLL_SECONDS)


def _previous_file(name: JobName, suffix: str) -> Path:
    """Return iteration N-1's file; in a continued run it may bear the name of the run before."""
    previous = f"_it{name.iteration - 1:03d}"
    # A refinement writes a model for each half, a classification one for all.
    endings = [f"{previous}_half1{suffix}", previous + suffix] if suffix == MODEL else [previous + suffix]
    for ending in endings:
        path = name.folder / f"{name.root}{ending}"
        if path.is_file():
            return path
        candidates = name.folder.glob(f"*{ending}")
        earlier = [p for p in candidates if _is_run_before(p.name.removesuffix(ending), name)]
        if earlier:
            return max(earlier, key=lambda p: p.stat().st_mtime)
    missing = f"{name.folder / (name.root + endings[0])}: no such file"
    if name.iteration > 1 and not any(_files_before(name)):
        raise StarError(f"{missing}, nor of any iteration before: RELION continues a run of another folder.")
    raise StarError(f"{missing}.")


def _files_before(name: JobName) -> Iterator[Path]:
    """Yield what RELION wrote of earlier iterations of this run."""
    for path in name.folder.glob(f"{glob.escape(name.original_root)}*_it*{OPTIMISER}"):
        found = parse_file_name(path.name)
        if found is not None and found.ending == OPTIMISER and found.iteration < name.iteration:
            yield path


def _is_run_before(root: str, name: JobName) -> bool:
    """Tell whether ``root`` is the run that ``name`` continues, or an earlier continuation of it."""
    return name.root != name.original_root and original_root(root) == name.original_root


def _from_sampling(star: StarFile) -> dict[str, Any]:
    block = "sampling_general"
    group = star.values(block).get(labels.SYMMETRY)
    return {
        "healpix_order": star.integer(block, labels.HEALPIX_ORDER),
        "point_group": None if group is None else str(group),
    }


def _from_optimiser(star: StarFile) -> dict[str, Any]:
    block = "optimiser_general"
    mask = star.text(block, labels.SOLVENT_MASK)
    known, low_pass = initial_low_pass(star.opening, star.path)
    return {
        "local_healpix_order": star.integer(block, labels.LOCAL_HEALPIX_ORDER),
        "split_halves": star.integer(block, labels.SPLIT_HALVES) == 1,
        "particle_diameter_angstrom": star.number(block, labels.PARTICLE_DIAMETER),
        "solvent_mask": None if mask in ("", "None") else mask,
        "initial_low_pass_angstrom": low_pass,
        "initial_low_pass_is_known": known,
        "sequential_halves": Command(star.opening).has("--sequential_halves_recons"),
        "iterates_gridding": iterates_gridding(star.opening),
        "by_gradient": str(star.values(block).get(labels.GRADIENT)) == "1",
    }


def _from_model(star: StarFile) -> dict[str, Any]:
    return {"pixel_size_angstrom": star.number(labels.MODEL_GENERAL, labels.PIXEL_SIZE)}
