"""The solvent mask that RELION starts with where each iteration draws it anew: the particle's sphere."""

from __future__ import annotations

from pathlib import Path

from extrecon.fourier.masks import EDGE_PX, soft_sphere
from extrecon.maps import HalfMap, write_map
from extrecon.relion.names import MADE_MASK

SOLVENT_MASK, CORRECTED_FSC = "--solvent_mask", "--solvent_correct_fsc"


def mask_words(output: str) -> tuple[str, ...]:
    """Return RELION's options for a mask that follows the refinement, for what it was given as ``--o``."""
    return (SOLVENT_MASK, output + MADE_MASK, CORRECTED_FSC)


def write_first_mask(
    path: Path, box: int, pixel_size_angstrom: float, particle_diameter_angstrom: float | None
) -> None:
    """Write the soft sphere to which RELION would flatten the solvent by itself.

    Parameters
    ----------
    path : where; what is there is replaced
    box : edge of the particles' images, px
    particle_diameter_angstrom : RELION's ``--particle_diameter``, Å; None for as much as the box holds
    """
    widest = box / 2 - EDGE_PX
    radius = widest
    if particle_diameter_angstrom is not None:
        radius = min(particle_diameter_angstrom / 2 / pixel_size_angstrom, widest)
    write_map(path, HalfMap(soft_sphere(box, max(radius, 1.0)), pixel_size_angstrom))
