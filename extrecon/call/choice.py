"""What the user chose: regularizer, settings and mask, checked before days of refinement depend on them."""

from __future__ import annotations

from pathlib import Path

from extrecon.errors import MapError
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.options import Options
from extrecon.regularizer import Regularizer, Setting, load, settings_for
from extrecon.relion.job import Job
from extrecon.relion.search import SearchState


def load_choice(options: Options) -> tuple[Regularizer, dict[str, Setting]]:
    """Return the chosen regularizer and all its settings.

    Raises
    ------
    UsageError, RegularizerError : no such regularizer or parameter, or one that cannot be imported.
    """
    name = options.text("regularizer")
    regularizer: Regularizer = load(name)
    return regularizer, settings_for(regularizer.parameters, options.settings, f"The regularizer {name}")


def check_choice(
    options: Options, working_directory: Path, job: Job | None = None, state: SearchState | None = None
) -> list[str]:
    """Refuse what would fail when its time comes, as far as that shows without a map; return what should be told.

    Parameters
    ----------
    job, state : tell the grid that the mask must lie on, and RELION's own mask, where there is a job already

    Raises
    ------
    UsageError, RegularizerError : as `load_choice`, or the regularizer refuses its settings.
    MapError : the mask is not there, or cannot be used.
    """
    regularizer, settings = load_choice(options)
    regularizer.check(settings)
    if not regularizer.uses_mask or (job is not None and job.dimensions != 3):
        return []
    given = options.text("mask")
    if given and not (working_directory / given).exists():
        raise MapError(f"--mask {given}: no such file; paths count from the folder where RELION is started.")
    path = given or (state.solvent_mask if state is not None else "")
    if not path:
        return []
    mask = read_mask(working_directory / path, _grid(job, state), rescale=options.flag("rescale_mask"))
    return list(mask.notes)


def _grid(job: Job | None, state: SearchState | None) -> MaskGrid:
    if job is None:
        return MaskGrid()
    known = job.pixel_size_angstrom or (state.pixel_size_angstrom if state is not None else None)
    return MaskGrid(box=job.original_size, pixel_size_angstrom=known)
