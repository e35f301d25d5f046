"""The files of a simulated data set, by name: known without what simulating needs."""

from __future__ import annotations

FILES = (
    "truth.mrc",
    "reference.mrc",
    "mask.mrc",
    "particles.mrcs",
    "particles.star",
    "true.star",
    "simulation.json",
)
MODEL = "structure.cif"
