"""extrecon in a notebook or a script: ``extrecon.regularize(…)`` and ``extrecon.reconstruct(…)``.

The same code as behind `extrecon regularize`, `extrecon reconstruct` and the hook, on arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.call.choice import choose
from extrecon.call.masks import MASK_MADE, find_mask
from extrecon.call.regularizing import regularize_safely
from extrecon.errors import MapError, UsageError
from extrecon.fourier.compute import Compute, compute_for
from extrecon.fourier.shells import fsc_of_maps
from extrecon.maps import HalfMap, read_map
from extrecon.maps.half_map import FloatArray
from extrecon.reconstruction import reconstruct_job
from extrecon.record import Record
from extrecon.regularizer import Context, Progress, Regularized, no_progress
from extrecon.relion.job import read_job
from extrecon.relion.search import SearchState, pixel_size_of
from extrecon.settings import Setting

MapLike = FloatArray | HalfMap | str | PathLike[str]
"""A cube of densities with axes z, y, x, a `HalfMap`, or the path of an MRC file."""


def regularize(
    half_map: MapLike,
    regularizer: str,
    *,
    pixel_size: float | None = None,
    fsc: npt.ArrayLike | None = None,
    other_half: MapLike | None = None,
    mask: MapLike | None = None,
    settings: Mapping[str, Setting] | None = None,
    particle_diameter: float | None = None,
    inside_refinement: bool = False,
    device: str = "auto",
    threads: int = 0,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Regularized:
    """Return a half-map regularized, as `extrecon regularize` does it or, on request, as the hook does.

    Parameters
    ----------
    half_map : (n, n, n) array, axes z, y, x, or the path of an MRC file
    regularizer : its name; `extrecon regularizers` lists them
    pixel_size : Å; may be left out where a file or a `HalfMap` tells it
    fsc : (n // 2 + 1,) half-map FSC; by default that with ``other_half``, if it is given
    other_half : tells the FSC; seen by regularizers alone that need both halves
    mask : 0 in the solvent, 1 in the particle; made from the half-map where one is needed and none is given
    settings : the regularizer's parameters by the names that ``--set`` takes, ``blend`` and ``solvent`` included
    particle_diameter : Å
    inside_refinement : do what the hook does between two iterations: the regularizer's treatment for refinement,
        each shell scaled onto the half-map, nothing beyond an FSC of 1/7
    device, threads : as ``--device``, ``--threads``
    seed : of the regularizer's random numbers
    progress : called with a stage's name and the fraction done

    Returns
    -------
    The density and further maps; ``facts`` also tell the treatment and what the safeguards measured

    Raises
    ------
    UsageError, MapError : what was given does not fit together.
    SafeguardError : the result was not safe.
    Exception : whatever the regularizer raised.
    """
    choice, compute = choose(regularizer, settings or {}), compute_for(device, threads)
    ours = _as_map(half_map, pixel_size, "half_map")
    other = None if other_half is None else _beside(other_half, ours, "other_half")
    curve = _curve(fsc, ours, other, compute)
    record = Record(input=str(half_map) if isinstance(half_map, (str, PathLike)) else "")
    found = _mask(mask, ours, record) if choice.regularizer.uses_mask else None
    context = Context(
        settings=choice.settings,
        mask=found,
        mask_is_made=record.mask == MASK_MADE,
        half_map_fsc=curve,
        particle_diameter_angstrom=particle_diameter,
        inside_refinement=inside_refinement,
        other_half=other if choice.regularizer.needs_both_halves else None,
        compute=compute,
        progress=progress,
    )
    done = regularize_safely(
        ours,
        choice.regularizer,
        context,
        choice.wishes,
        shell_scale=inside_refinement,
        fsc_cutoff=inside_refinement and curve is not None,
        seed=seed,
        record=record,
    )
    facts = {**record.facts, "treatment": record.treatment, "safeguards": record.safeguards}
    return replace(done, facts=facts, warnings=record.warnings)


def reconstruct(
    star: str | PathLike[str],
    *,
    pixel_size: float | None = None,
    use_map: bool = True,
    iterate_gridding: bool = True,
    device: str = "auto",
    threads: int = 0,
) -> HalfMap:
    """Return the half-map of one of RELION's ``…_external_reconstruct.star`` files, as RELION would.

    Parameters
    ----------
    star : its accumulators lie where it says, relative to the working folder
    pixel_size : Å, where the file does not tell it
    use_map : damp with RELION's tau2
    iterate_gridding : iterate gridding weights, or divide by the weights
    device, threads : as ``--device``, ``--threads``

    Raises
    ------
    UsageError : the pixel size is unknown, or the file is of a 2D classification.
    MapError, OSError : a file that is not there or cannot be used.
    """
    job = read_job(Path(star), Path.cwd())
    known = pixel_size or pixel_size_of(job)
    if job.dimensions != 3:
        raise UsageError(f"{star} is of {job.dimensions}D images; `extrecon reconstruct` writes those.")
    if known is None:
        raise UsageError(f"{star} and the files beside it do not tell the pixel size: give pixel_size=…, Å.")
    values = reconstruct_job(
        job, use_map=use_map, iterate_gridding=iterate_gridding, compute=compute_for(device, threads)
    )
    return HalfMap(values, known)


def _as_map(given: MapLike, pixel_size: float | None, name: str) -> HalfMap:
    if isinstance(given, HalfMap):
        return given if pixel_size is None else replace(given, pixel_size_angstrom=pixel_size)
    if isinstance(given, (str, PathLike)):
        return read_map(Path(given), pixel_size)
    if pixel_size is None:
        raise UsageError(f"{name} is an array, which does not tell its pixel size: give pixel_size=…, Å.")
    return HalfMap(np.asarray(given, dtype=np.float32), pixel_size)


def _beside(given: MapLike, half_map: HalfMap, name: str) -> HalfMap:
    """Return a map that must lie on the half-map's grid."""
    found = _as_map(given, half_map.pixel_size_angstrom, name)
    if found.box != half_map.box:
        raise MapError(f"{name} is {found.box}³ voxels, but half_map is {half_map.box}³.")
    return found


def _curve(
    given: npt.ArrayLike | None, half_map: HalfMap, other: HalfMap | None, compute: Compute
) -> npt.NDArray[np.float64] | None:
    """Return the half-map FSC: as given, or that of both halves, or None."""
    shells = half_map.box // 2 + 1
    if given is not None:
        curve = np.asarray(given, dtype=np.float64)
        if curve.shape != (shells,):
            raise UsageError(f"fsc is of shape {curve.shape}; {half_map.box}³ voxels have {shells} Fourier shells.")
        return curve
    if other is None:
        return None
    return fsc_of_maps(half_map.density, other.density, compute)


def _mask(given: MapLike | None, half_map: HalfMap, record: Record) -> npt.NDArray[np.float32]:
    """Return the mask that was given, or one made from the half-map; tell the record which."""
    if given is not None and not isinstance(given, (str, PathLike)):
        record.mask = "given"
        return np.asarray(_beside(given, half_map, "mask").density, dtype=np.float32)
    path = "" if given is None else str(given)
    found, record.mask = find_mask(path, half_map, SearchState(), Path.cwd(), warn=record.warnings.append)
    return found
