"""Which maps of a refinement a page shows and ChimeraX opens, and their slices and contour levels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import MapError
from extrecon.maps.mrc import read_volume
from extrecon.pictures.slices import central_slices
from extrecon.relion import labels
from extrecon.relion.account import Account
from extrecon.relion.history import CallName, Iteration
from extrecon.relion.names import CALL

MOST_SHOWN = 6
SHARE_OF_MASK, SHARE_OF_SPHERE = 0.25, 0.1
"""A protein fills about so much of a soft mask with its margin, and of the sphere of RELION's particle diameter."""
_SAMPLED = 2_000_000
_MAP_ENDINGS = (".mrc", ".map", ".ccp4")


@dataclass(frozen=True)
class Pair:
    """One call's maps, as files beside each other.

    Attributes
    ----------
    iteration, call : which
    plain : what extrecon reconstructed, or RELION where the hook was not used
    regularized : None where nothing was regularized
    record : of the call; empty without the hook
    """

    iteration: int
    call: CallName
    plain: Path
    regularized: Path | None
    record: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Short form for people."""
        return f"it{self.iteration:03d} {self.call.label}"


@dataclass(frozen=True)
class Look:
    """What is shown of one map.

    Attributes
    ----------
    slices : across z, y and x through the middle, each (n, n)
    level : density whose contour encloses the share of the box that was asked for; None if none was
    box : voxels along an edge
    """

    slices: Sequence[npt.NDArray[np.float32]]
    level: float | None
    box: int


def pairs_of(account: Account) -> tuple[list[Pair], int]:
    """Return the last regularized maps of each half, class or body with their plain ones, else the last plain maps.

    The number is of the calls that are left out. Of two-dimensional classes nothing is shown.
    """
    if account.values.get(labels.DIMENSIONS, "").startswith("2"):
        return [], 0
    found: dict[CallName, Pair] = {}
    for iteration in account.iterations:
        for call in sorted({*iteration.calls, *iteration.records}, key=str):
            pair = _pair(account.folder, iteration, call)
            if pair is not None and (pair.regularized or not (call in found and found[call].regularized)):
                found[call] = pair
    if not found:
        found = _of_relion(account)
    pairs = sorted(
        found.values(), key=lambda p: (p.call.half is None, p.call.kind, p.call.number, p.call.half or 0)
    )
    return pairs[:MOST_SHOWN], max(0, len(pairs) - MOST_SHOWN)


def _pair(folder: Path, iteration: Iteration, call: CallName) -> Pair | None:
    half = f"_half{call.half}" if call.half else ""
    stem = (
        f"{iteration.root}_it{iteration.number:03d}{half}_{call.kind}{call.number:03d}{CALL.removesuffix('.star')}"
    )
    result, plain, beside = (folder / f"{stem}{end}" for end in (".mrc", "_plain.mrc", "_regularized.mrc"))
    record = iteration.records.get(call, {})
    if record.get("outcome") == "regularized" and result.is_file() and plain.is_file():
        return Pair(iteration.number, call, plain, result, record)
    if not result.is_file():
        return None
    return Pair(iteration.number, call, result, beside if beside.is_file() else None, record)


def _of_relion(account: Account) -> dict[CallName, Pair]:
    """Return RELION's own maps of the last iteration that has some: there was no external call."""
    for iteration in reversed(account.iterations):
        found = {}
        for half in (1, 2, None):
            part = f"_half{half}" if half else ""
            for kind in ("class", "body"):
                for number in range(1, MOST_SHOWN + 1):
                    name = f"{iteration.root}_it{iteration.number:03d}{part}_{kind}{number:03d}.mrc"
                    if (account.folder / name).is_file():
                        call = CallName(half, kind, number, account.is_split)
                        found[call] = Pair(iteration.number, call, account.folder / name, None, {})
        if found:
            final = account.folder / f"{iteration.root}_class001.mrc"  # of all particles, at the very end
            if account.is_finished and account.is_split and final.is_file():
                joined = CallName(None, "class", 1)
                found[joined] = Pair(account.iterations[-1].number, joined, final, None, {})
            return found
    return {}


def contour_share(pair: Pair, account: Account) -> tuple[float | None, str]:
    """Return which share of the box a contour should enclose, and how that is known; None if nothing tells."""
    treatment = pair.record.get("treatment")
    share = treatment.get("mask_share") if isinstance(treatment, Mapping) else None
    if isinstance(share, float | int) and 0 < share <= 1:
        return SHARE_OF_MASK * share, f"{SHARE_OF_MASK:.0%} of the mask's volume"
    diameter = account.number(labels.PARTICLE_DIAMETER)
    pixel, box = account.number(labels.PIXEL_SIZE), account.number(labels.ORIGINAL_SIZE)
    if diameter and pixel and box and 0 < diameter <= box * pixel:
        sphere = np.pi / 6 * (diameter / (pixel * box)) ** 3
        return float(SHARE_OF_SPHERE * sphere), f"{SHARE_OF_SPHERE:.0%} of the sphere of RELION's particle diameter"
    return None, "ChimeraX's own choice"


def look_at(path: Path, share: float | None) -> Look:
    """Read a map and return what is shown of it.

    Raises
    ------
    MapError : it cannot be read, or is no cube.
    """
    density = read_volume(path)
    if density.ndim != 3 or len(set(density.shape)) != 1:
        raise MapError(f"{path}: expected a cubic map, found {'×'.join(map(str, density.shape))} voxels.")
    level = None
    if share is not None:
        flat = density.ravel()[:: max(1, density.size // _SAMPLED)]  # enough to tell a percentile
        level = float(np.quantile(flat, 1 - share))
    return Look(central_slices(density), level, len(density))


def looks_at(
    pairs: Sequence[Pair], account: Account, progress: Callable[[float], None]
) -> tuple[dict[Path, Look], list[str]]:
    """Return what is shown of each map that can be read, and a sentence for each that cannot."""
    found: dict[Path, Look] = {}
    problems = []
    paths = [(path, pair) for pair in pairs for path in (pair.plain, pair.regularized) if path is not None]
    for place, (path, pair) in enumerate(paths):
        progress(place / len(paths))
        try:
            found[path] = look_at(path, contour_share(pair, account)[0])
        except MapError as error:
            problems.append(str(error))
    return found, problems


def mask_of(pairs: Sequence[Pair], folder: Path) -> Path | None:
    """Return the mask's file, if the regularizer was given one and it is still there.

    A record names it as RELION or the user did, from a working directory that is most often above the job's folder.
    """
    for pair in pairs:
        told = pair.record.get("mask")
        name = re.sub(r" \([^()]*\)$", "", told) if isinstance(told, str) else ""
        for start in (Path.cwd(), *folder.absolute().parents) if name.endswith(_MAP_ENDINGS) else ():
            if (start / name).is_file():
                return start / name
    return None
