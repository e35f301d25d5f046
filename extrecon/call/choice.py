"""What the user chose: regularizer, settings and mask, checked before days of refinement depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extrecon.call.treatment import Wishes, split_settings
from extrecon.chain import load_chain
from extrecon.errors import MapError, UsageError
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.options import Options
from extrecon.options.phases import CHAIN, read_phases
from extrecon.regularizer import Regularizer
from extrecon.relion.job import Job
from extrecon.relion.search import SearchState
from extrecon.settings import Setting, as_typed


@dataclass(frozen=True)
class Choice:
    """A regularizer, its settings, and what is to be done with its density.

    Attributes
    ----------
    name : as the user typed it
    regularizer : ready to work
    settings : an instance of its ``settings_type``
    wishes : what the user wants done with its density
    """

    name: str
    regularizer: Regularizer
    settings: Any
    wishes: Wishes

    def described(self) -> dict[str, Any]:
        """Return name, version and settings, for the record."""
        return {"name": self.name, "version": self.regularizer.version, "settings": as_typed(self.settings)}


def choose(name: str, given: Mapping[str, Setting]) -> Choice:
    """Return the regularizer of that name with its settings, as typed by the user.

    Raises
    ------
    UsageError, RegularizerError : no such regularizer or parameter, or one that cannot be imported.
    """
    regularizer = load_chain(name)
    wishes, settings = split_settings(regularizer, given)
    return Choice(name, regularizer, settings, wishes)


def choose_for_phase(options: Options, chain: str) -> Choice:
    """Return the choice of one phase of a refinement, without the settings of what the other phase alone has.

    Raises
    ------
    UsageError, RegularizerError : as `choose`.
    """
    phases = read_phases(options.text("regularizer"))
    here = chain.split(CHAIN)
    if len(phases.names()) == 1:
        return choose(chain, options.settings)
    given: dict[str, Setting] = {}
    for key, value in options.settings.items():
        owner, of_one, name = key.partition(".")
        if not of_one:
            given[key] = value  # extrecon's own, for both phases
        elif owner in here:
            given[key if len(here) > 1 else name] = value
        elif owner not in phases.names():
            raise UsageError(f"--set {key}: no regularizer here is called '{owner}': {', '.join(phases.names())}.")
    return choose(chain, given)


def check_choice(
    options: Options, working_directory: Path, job: Job | None = None, state: SearchState | None = None
) -> list[str]:
    """Refuse what would fail when its time comes, as far as that shows without a map; return what should be told.

    Parameters
    ----------
    job, state : tell the grid that the mask must lie on, and RELION's own mask, where there is a job already

    Raises
    ------
    UsageError, RegularizerError : as `choose`, or the regularizer refuses its settings.
    MapError : the mask is not there, or cannot be used.
    """
    choices = [choose_for_phase(options, chain) for chain in read_phases(options.text("regularizer")).chains()]
    for choice in choices:
        choice.regularizer.check(choice.settings)
    uses_mask = any(choice.regularizer.uses_mask for choice in choices)
    if not uses_mask or (job is not None and job.dimensions != 3):
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
