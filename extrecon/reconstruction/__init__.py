"""Accumulators to half-map."""

from extrecon.reconstruction.data_consistency import data_consistent
from extrecon.reconstruction.fourier_data import FourierData
from extrecon.reconstruction.grid import Accumulators, Geometry
from extrecon.reconstruction.half_map import reconstruct
from extrecon.reconstruction.job import damping_of, data_of_job, map_damping_of_job, reconstruct_job
from extrecon.reconstruction.map_term import map_damping

__all__ = [
    "Accumulators",
    "FourierData",
    "Geometry",
    "damping_of",
    "data_consistent",
    "data_of_job",
    "map_damping",
    "map_damping_of_job",
    "reconstruct",
    "reconstruct_job",
]
