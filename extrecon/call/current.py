"""What the stages of one call share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.call import publishing
from extrecon.fourier.compute import Compute
from extrecon.maps.mrc import write_volume
from extrecon.options import Options
from extrecon.options.phases import read_phases
from extrecon.record import Record, record_path, write_or_warn
from extrecon.regularizer import Progress
from extrecon.relion.job import Job
from extrecon.relion.search import SearchState

Aside = Callable[[], AbstractContextManager[None]]
"""Entered while a call only waits, so that others may use the device."""


@dataclass
class Call:
    """One call of RELION.

    Attributes
    ----------
    job, state : what RELION's files say
    options : effective options
    compute : where to work
    record : what the user will be told
    working_directory : RELION's
    progress : gets stages and fractions
    aside : see `Aside`
    """

    job: Job
    state: SearchState
    options: Options
    compute: Compute
    record: Record
    working_directory: Path
    progress: Progress
    aside: Aside

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, and tell that it has begun."""
        self.progress(name, 0.0)
        with self.record.stage(name):
            yield

    @property
    def regularizer_name(self) -> str:
        """The regularizer that the user chose for this phase of the refinement."""
        phases = read_phases(self.options.text("regularizer"))
        always = self.options.text("apply") == "always"
        # One that has its time later is named, and checked, from the first iteration on.
        return phases.of_search(self.state.is_local, always=always) or phases.chains()[0]

    @property
    def iterates_gridding(self) -> bool:
        """As the user wants it, or as RELION would by itself; where that is unknown, as its own program does."""
        wanted = self.options.text("gridding")
        return self.state.iterates_gridding is not False if wanted == "auto" else wanted == "on"

    @property
    def fails_loudly(self) -> bool:
        """The user wants no map rather than a plain one."""
        return self.options.text("on_error") == "fail"

    @property
    def pixel_size_angstrom(self) -> float | None:
        """By the STAR file, else by the iteration before."""
        return self.job.pixel_size_angstrom or self.state.pixel_size_angstrom

    def write(self, path: Path, values: npt.NDArray[np.float32]) -> None:
        """Write a map, replacing an old one whole."""
        with self.stage("write"):
            write_volume(path, values, self.pixel_size_angstrom or 0.0)

    def beside(self, name: str) -> Path:
        """Return the path of a further map of this job."""
        return publishing.beside(self.job.stem, name)

    def write_record(self) -> None:
        """Write the record, or have it say that it cannot be written."""
        write_or_warn(self.record, record_path(self.job.stem))
