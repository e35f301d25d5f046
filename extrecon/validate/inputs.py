"""What is scored, and against what: from files to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.errors import InputError, UsageError
from extrecon.fourier.masks import particle_mask
from extrecon.maps import HalfMap, read_map
from extrecon.maps.agreement import check_halves
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.maps.mrc import read_companion
from extrecon.record import regularizer_of
from extrecon.relion.names import DATA


@dataclass(frozen=True)
class Files:
    """The files of one validation; the map may be missing if there are half-maps, whose mean is scored then."""

    map: Path | None
    halves: Sequence[Path] = ()
    mask: Path | None = None
    truth: Path | None = None
    model: Path | None = None
    poses: Path | None = None
    true_poses: Path | None = None
    local_resolution: Path | None = None
    unsharpened: Sequence[Path] = ()

    def names(self) -> dict[str, str]:
        """Return what is there, for a report."""
        halves = {f"half-map {number}": path for number, path in enumerate(self.halves, 1)}
        others = {
            "mask": self.mask,
            "truth": self.truth,
            "model": self.model,
            "poses": self.poses,
            "true poses": self.true_poses,
            "local resolution": self.local_resolution,
        }
        before = {f"unsharpened {number}": path for number, path in enumerate(self.unsharpened, 1)}
        named = {"map": self.map} | halves | others | before
        return {name: str(path) for name, path in named.items() if path is not None}


@dataclass(frozen=True)
class Inputs:
    """What is scored, and against what; each part may be missing but the map.

    Attributes
    ----------
    names : of the files, for the report
    regularizers : that changed the half-maps before, if that is known
    notes : sentences on what was odd about the files
    unsharpened : one map, or two half-maps, from which the map was sharpened
    wants_sharpening : tell how sharp the map looks beside what its signal allows
    symmetry : point group of the map and the poses
    fsc_q_window_angstrom : of FSC-Q; None for the usual one
    """

    map: HalfMap
    names: Mapping[str, str] = field(default_factory=dict)
    regularizers: Sequence[str] = ()
    halves: tuple[HalfMap, HalfMap] | None = None
    mask: npt.NDArray[np.floating[Any]] | None = None
    truth: HalfMap | None = None
    model: Path | None = None
    poses: Path | None = None
    true_poses: Path | None = None
    local_resolution: HalfMap | None = None
    unsharpened: Sequence[HalfMap] = ()
    wants_sharpening: bool = False
    symmetry: str = "C1"
    notes: Sequence[str] = ()
    fsc_q_window_angstrom: float | None = None

    @cached_property
    def mask_or_made(self) -> npt.NDArray[np.floating[Any]]:
        """The mask, or one made from the map where none was given."""
        return particle_mask(self.map) if self.mask is None else self.mask


def find_files(first: Path, second: Path | None) -> Files:
    """Return the files that a map, two half-maps or a finished refinement's folder stand for.

    Raises
    ------
    InputError : the folder holds no finished refinement.
    UsageError : a second half-map was given beside a folder.
    """
    if first.is_dir():
        if second is not None:
            raise UsageError(f"{first} is a folder, whose own half-maps are scored; {second} is one too many.")
        final, halves, poses = from_job(first)
        return Files(final, halves, poses=poses)
    return Files(first) if second is None else Files(None, [first, second])


def from_job(folder: Path) -> tuple[Path, list[Path], Path]:
    """Return the final map, the unfiltered half-maps and the particles of a finished RELION refinement.

    Raises
    ------
    InputError : the folder holds no finished refinement.
    """
    finals = [path for path in sorted(folder.glob(f"*{DATA}")) if "_it" not in path.name]
    if len(finals) != 1:
        raise InputError(f"{folder}: expected one finished refinement (…_data.star), found {len(finals)}.")
    stem = finals[0].name.removesuffix(DATA)
    final = folder / f"{stem}_class001.mrc"
    halves = [folder / f"{stem}_half{half}_class001_unfil.mrc" for half in (1, 2)]
    return final, [path for path in halves if path.exists()], finals[0]


def read_inputs(
    files: Files, pixel_size_angstrom: float | None, symmetry: str, *, rescale_mask: bool = False
) -> Inputs:
    """Read everything.

    Parameters
    ----------
    pixel_size_angstrom : in place of that of the headers
    symmetry : point group of the poses
    rescale_mask : take a mask of bytes for what it looks like

    Raises
    ------
    MapError : a map cannot be read, the maps differ in box or pixel size, or the half-maps are one map.
    """
    trusted = pixel_size_angstrom is None
    halves = [read_map(path, pixel_size_angstrom) for path in files.halves]
    pair = (halves[0], halves[1]) if len(halves) == 2 else None
    notes = [] if pair is None else [*check_halves(*pair, (str(files.halves[0]), str(files.halves[1])))]
    whole = _whole(files.map, halves, pixel_size_angstrom)
    grid = MaskGrid("the map", whole.box, whole.pixel_size_angstrom, trusted)
    mask = None if files.mask is None else read_mask(files.mask, grid, rescale=rescale_mask)
    truth, local_resolution = (_companion(path, whole, trusted) for path in (files.truth, files.local_resolution))
    pixel = whole.pixel_size_angstrom
    before = [read_companion(path, pixel, "the map", trust_header=trusted) for path in files.unsharpened]
    if len(before) == 2:
        notes += check_halves(before[0], before[1], (str(files.unsharpened[0]), str(files.unsharpened[1])))
    for each in (*halves, whole, mask, truth, local_resolution, *before):
        notes += each.notes if each is not None else ()
    return Inputs(
        map=whole,
        names=files.names(),
        regularizers=sorted({name for half in files.halves if (name := regularizer_of(half))}),
        halves=pair,
        mask=None if mask is None else mask.density,
        truth=truth,
        model=files.model,
        poses=files.poses,
        true_poses=files.true_poses,
        local_resolution=local_resolution,
        unsharpened=before,
        symmetry=symmetry,
        notes=list(dict.fromkeys(notes)),  # the halves' mean has those of the first half
    )


def _companion(path: Path | None, whole: HalfMap, trusted: bool) -> HalfMap | None:
    if path is None:
        return None
    return read_companion(path, whole.pixel_size_angstrom, "the map", trust_header=trusted)


def _whole(path: Path | None, halves: Sequence[HalfMap], pixel_size_angstrom: float | None) -> HalfMap:
    """Return the map that is scored: that of a file, which must be on the half-maps' grid, or the halves' mean."""
    if path is None:
        return _mean(halves)
    if not halves:
        return read_map(path, pixel_size_angstrom)
    trusted = pixel_size_angstrom is None
    return read_companion(path, halves[0].pixel_size_angstrom, "its half-map", trust_header=trusted)


def _mean(halves: Sequence[HalfMap]) -> HalfMap:
    first, second = halves
    return first.mean_with(second)
