"""Of one of RELION's jobs: its half-map, and what its MAP term does to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Compute
from extrecon.reconstruction.fourier_data import FourierData
from extrecon.reconstruction.grid import Geometry
from extrecon.reconstruction.half_map import reconstruct
from extrecon.reconstruction.map_term import map_damping
from extrecon.relion.accumulators import AccumulatorFiles
from extrecon.relion.job import Job


def reconstruct_job(
    job: Job, *, use_map: bool = True, iterate_gridding: bool = True, compute: Compute
) -> npt.NDArray[np.float32]:
    """Return the map of one of RELION's jobs; parameters, errors and result as in `reconstruct`.

    Parameters
    ----------
    use_map : leave the MAP term out, or take it in if the job has a tau2 table
    """
    data = data_of_job(job)
    return reconstruct(
        data.accumulators,
        data.geometry,
        tau2=job.tau2 if use_map else None,
        tau2_fudge=job.tau2_fudge,
        iterate_gridding=iterate_gridding,
        compute=compute,
    )


def data_of_job(job: Job) -> FourierData:
    """Return what the half-map of one of RELION's jobs is made from; nothing is read yet."""
    geometry = Geometry(job.original_size, job.current_size, job.padding_factor, job.dimensions)
    return FourierData(AccumulatorFiles(job, geometry.accumulator_shape), geometry, job.tau2, job.tau2_fudge)


def map_damping_of_job(job: Job, *, compute: Compute) -> npt.NDArray[np.float64]:
    """Return `map_damping` of one of RELION's jobs; 1 where it has no tau2 table."""
    return damping_of(data_of_job(job), compute)


def damping_of(data: FourierData, compute: Compute) -> npt.NDArray[np.float64]:
    """Return `map_damping` of what a half-map is made from; 1 where no tau2 is known."""
    if data.tau2 is None:
        return np.ones(data.geometry.original_size // 2 + 1)
    fudge = data.tau2_fudge
    return map_damping(data.accumulators, data.geometry, tau2=data.tau2, tau2_fudge=fudge, compute=compute)
