"""Particles that no arm refines: drawn once for a comparison, so that all arms are judged by the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.compare.lock import alone_in
from extrecon.errors import UsageError
from extrecon.relion import labels
from extrecon.relion.particles import ParticleFile, read_particles, some_particles
from extrecon.system.files import replacing

REFINED_PARTICLES, HELD_OUT_PARTICLES = "particles.star", "held_out.star"
_SEED = 0  # one draw for all seeds of RELION's
_FEWEST = 2
_BALANCED = (labels.HALF_SET, labels.OPTICS_GROUP, labels.MICROGRAPH)


def hold_out(source: Path, fraction: float, output: Path, *, redo: bool = False) -> tuple[Path, Path]:
    """Write the particles that are refined and those that are not, and return both paths.

    What is there already and the same is left alone: another comparison may be reading it.

    Parameters
    ----------
    fraction : of the particles that no arm refines
    output : the comparison's folder
    redo : replace what is there and differs

    Raises
    ------
    UsageError : too few would be left on either side, or there are others already.
    StarError : the source is no particle file.
    """
    particles = read_particles(source)
    chosen = drawn(particles, fraction)
    count = int(chosen.sum())
    if count < _FEWEST or len(chosen) - count < _FEWEST:
        raise UsageError(f"--hold-out {fraction:g} of {len(chosen)} particles leaves too few on one side: {count}.")
    paths = output / REFINED_PARTICLES, output / HELD_OUT_PARTICLES
    texts = some_particles(source, ~chosen), some_particles(source, chosen)
    if all(_holds(path, text) for path, text in zip(paths, texts, strict=True)):
        return paths
    if not redo and any(path.exists() for path in paths):
        raise UsageError(
            f"{output}: its runs were made with another part of the particles held out, or of others. Give "
            "--redo to replace them, or another --output."
        )
    with alone_in(output):
        for path, text in zip(paths, texts, strict=True):
            with replacing(path) as temporary:
                temporary.write_bytes(text)
    return paths


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


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
