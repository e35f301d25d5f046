"""Particles that no arm refines: drawn once for a comparison, so that all arms are judged by the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.errors import UsageError
from extrecon.relion import labels
from extrecon.relion.particles import ParticleFile, read_particles, write_some_particles

REFINED_PARTICLES, HELD_OUT_PARTICLES = "particles.star", "held_out.star"
_SEED = 0  # one draw for all seeds of RELION's
_FEWEST = 2
_BALANCED = (labels.HALF_SET, labels.OPTICS_GROUP, labels.MICROGRAPH)


def hold_out(source: Path, fraction: float, output: Path) -> tuple[Path, Path]:
    """Write the particles that are refined and those that are not, and return both paths.

    Parameters
    ----------
    fraction : of the particles that no arm refines
    output : the comparison's folder

    Raises
    ------
    UsageError : too few would be left on either side.
    StarError : the source is no particle file.
    """
    particles = read_particles(source)
    chosen = drawn(particles, fraction)
    count = int(chosen.sum())
    if count < _FEWEST or len(chosen) - count < _FEWEST:
        raise UsageError(f"--hold-out {fraction:g} of {len(chosen)} particles leaves too few on one side: {count}.")
    paths = output / REFINED_PARTICLES, output / HELD_OUT_PARTICLES
    write_some_particles(source, paths[0], ~chosen)
    write_some_particles(source, paths[1], chosen)
    return paths


def drawn(particles: ParticleFile, fraction: float) -> npt.NDArray[np.bool_]:
    """Return which particles are held out, (particles,): the same of each file at each call.

    A systematic sample of the particles, sorted by half-set, optics group and micrograph and at random within them,
    takes from each of these its share, to within one particle (Cochran, Sampling Techniques, chapter 8).
    """
    total = len(particles)
    rng = np.random.default_rng(_SEED)
    keys = [rng.permutation(total)]
    for label in reversed(_BALANCED):
        column = particles.texts(label)
        if column is not None:
            keys.append(np.unique(column, return_inverse=True)[1])
    order = np.lexsort(keys)
    count = round(fraction * total)
    places = np.floor((np.arange(count) + rng.uniform()) * total / max(count, 1)).astype(int)
    chosen = np.zeros(total, bool)
    chosen[order[places]] = True
    return chosen
