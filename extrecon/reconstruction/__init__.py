"""Accumulators to half-map."""

from extrecon.reconstruction.grid import Accumulators, Geometry
from extrecon.reconstruction.half_map import reconstruct
from extrecon.reconstruction.job import map_damping_of_job, reconstruct_job
from extrecon.reconstruction.map_term import map_damping

__all__ = ["Accumulators", "Geometry", "map_damping", "map_damping_of_job", "reconstruct", "reconstruct_job"]
