"""One call of RELION: the STAR file that describes a reconstruction."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.errors import StarError
from extrecon.relion import labels
from extrecon.relion.names import JobName, output_stem, parse_job_name
from extrecon.relion.star import StarFile, read_star

GENERAL = "external_reconstruct_general"
TAU2 = "external_reconstruct_tau2"


@dataclass(frozen=True)
class Job:
    """What RELION asks for in one call.

    Attributes
    ----------
    star : the STAR file
    name : what its name says; None if it is not a refinement's
    data_real, data_imag, weight : accumulators
    result : where RELION will look for the map
    result_star : where RELION would look for a result STAR file; None if it names none
    tau2_fudge, padding_factor, dimensions, original_size, current_size : as `extrecon.reconstruction` takes them
    tau2 : (original_size // 2 + 1,) expected signal power per shell; None if RELION wrote no table
    half_map_fsc : the same shape, gold-standard FSC; None if RELION wrote none, or zeros as in classification
    pixel_size_angstrom : Å; None before RELION 4.0.1
    particle_diameter_angstrom : Å; None before RELION 4.0.1
    """

    star: Path
    name: JobName | None
    data_real: Path
    data_imag: Path
    weight: Path
    result: Path
    result_star: Path | None
    tau2_fudge: float
    padding_factor: float
    dimensions: int
    original_size: int
    current_size: int
    tau2: npt.NDArray[np.float64] | None
    half_map_fsc: npt.NDArray[np.float64] | None
    pixel_size_angstrom: float | None
    particle_diameter_angstrom: float | None

    @property
    def stem(self) -> Path:
        """Path without suffix that all files of this job share."""
        return output_stem(self.star)

    @property
    def label(self) -> str:
        """Short form for people."""
        return self.name.label if self.name else self.stem.name


def read_job(star: Path, working_directory: Path) -> Job:
    """Read a job; its paths are relative to RELION's working directory.

    A STAR file that was moved together with its folder is understood too: a path that does not exist from the
    working directory is looked for from the folders above the STAR file, nearest first.

    Raises
    ------
    StarError : the file is missing, damaged, or lacks what the contract promises.
    """
    file = read_star(star)
    root = _root_of_paths(file, star, working_directory)
    tau2, fsc = _shell_table(file) if file.has(TAU2) else (None, None)

    def path(key: str) -> Path:
        return root / _path_text(file, key)

    result_star = file.values(GENERAL).get(labels.RESULT_STAR)
    job = Job(
        star=star,
        name=parse_job_name(star),
        data_real=path(labels.DATA_REAL),
        data_imag=path(labels.DATA_IMAG),
        weight=path(labels.WEIGHT),
        result=path(labels.RESULT),
        result_star=root / str(result_star) if result_star else None,
        tau2_fudge=file.number(GENERAL, labels.TAU2_FUDGE),
        padding_factor=file.number(GENERAL, labels.PADDING_FACTOR),
        dimensions=file.integer(GENERAL, labels.DIMENSIONS),
        original_size=file.integer(GENERAL, labels.ORIGINAL_SIZE),
        current_size=file.integer(GENERAL, labels.CURRENT_SIZE),
        tau2=tau2,
        half_map_fsc=fsc,
        pixel_size_angstrom=_optional(file, labels.PIXEL_SIZE),
        particle_diameter_angstrom=_optional(file, labels.PARTICLE_DIAMETER),
    )
    _check_table_length(job)
    _check_results_are_no_inputs(job)
    _check_name_of_result(job)
    if job.tau2_fudge <= 0:
        # RELION's own program gives NaN for 0, and takes signal for noise below it.
        raise StarError(f"{star}: _{labels.TAU2_FUDGE} is {job.tau2_fudge:g}, but it must be above 0.")
    return job


def _path_text(file: StarFile, key: str) -> str:
    text = file.text(GENERAL, key)
    if not text:
        raise StarError(f"{file.path}: _{key} is empty.")
    return text


def _root_of_paths(file: StarFile, star: Path, working_directory: Path) -> Path:
    first = _path_text(file, labels.WEIGHT)
    if Path(first).is_absolute():
        return working_directory
    for folder in (working_directory, *star.absolute().parents):
        if (folder / first).is_file():
            return folder
    return working_directory


def _optional(file: StarFile, key: str) -> float | None:
    """Return a positive number if the file has it: older RELIONs do not write it."""
    if key not in file.values(GENERAL):
        return None
    value = file.number(GENERAL, key)
    return value if value > 0 else None


def _shell_table(file: StarFile) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    index = file.column(TAU2, labels.SHELL)
    tau2 = file.column(TAU2, labels.REFERENCE_TAU2)
    fsc = file.column(TAU2, labels.HALF_MAP_FSC)
    if not index.size:
        raise StarError(f"{file.path}: data_{TAU2} has no rows; the file is cut off or still being written.")
    if not np.array_equal(index, np.arange(index.size)):
        raise StarError(f"{file.path}: _{labels.SHELL} does not count 0, 1, 2, … to {index.size - 1}.")
    if tau2.min() < 0:
        raise StarError(f"{file.path}: _{labels.REFERENCE_TAU2} is negative in shell {int(tau2.argmin())}.")
    # Without half sets RELION writes zeros. Taken for an FSC they would say that nothing in the map is signal.
    return tau2, fsc if np.any(fsc[1:] != 0) else None


def _check_table_length(job: Job) -> None:
    wanted = job.original_size // 2 + 1
    if job.tau2 is not None and job.tau2.size != wanted:
        raise StarError(
            f"{job.star}: data_{TAU2} has {job.tau2.size} shells, but images of {job.original_size} px have "
            f"{wanted}; the file is cut off or belongs to another box."
        )


def _check_name_of_result(job: Job) -> None:
    """Refuse a damaged name: RELION looks for its refinements' results beside the STAR file, whatever that says."""
    wanted = job.stem.name + ".mrc"
    if job.name is not None and job.result.name != wanted:
        raise StarError(
            f"{job.star}: _{labels.RESULT} is {job.result.name}, but RELION will look for {wanted}; "
            "the file is damaged."
        )


def _check_results_are_no_inputs(job: Job) -> None:
    """Refuse results that bear the name of an input: what lies at a result's name is removed before the work."""
    inputs = {os.path.realpath(path) for path in (job.star, job.data_real, job.data_imag, job.weight)}
    for key, result in ((labels.RESULT, job.result), (labels.RESULT_STAR, job.result_star)):
        if result is not None and os.path.realpath(result) in inputs:
            raise StarError(f"{job.star}: _{key} names {result}, which is one of the inputs and would be lost.")
