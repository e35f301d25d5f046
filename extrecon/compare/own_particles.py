"""Anybody's particles, refined by their own command."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from extrecon.compare.dataset import refuse_spaces
from extrecon.compare.hashes import file_sha256
from extrecon.compare.hold_out import hold_out
from extrecon.compare.relion_words import MASK_OPTIONS, grouped, replaced
from extrecon.compare.scoring import Scores, course
from extrecon.compare.subject import REFINED
from extrecon.compare.user_recipe import UserRecipe
from extrecon.errors import InputError, UsageError
from extrecon.maps.mrc import read_map
from extrecon.relion import labels
from extrecon.relion.particles import ParticleFile, read_particles

_ENDS = 1 << 14  # bytes of each stack, at its beginning and its end, that tell it from another


@dataclass(frozen=True)
class OwnParticles:
    """Particles that somebody has measured, and how they refine them.

    Attributes
    ----------
    recipe : RELION's command
    folder : where RELION starts: the paths of the STAR file begin here
    reference : the first reference
    held_out : particles that no arm refines
    hashes : of all that decides a refinement
    notes : sentences on what the particles are like
    """

    recipe: UserRecipe
    folder: Path
    reference: Path
    held_out: Path | None = None
    hashes: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kept_in: str = REFINED

    @property
    def diameter_angstrom(self) -> float | None:
        """RELION's particle diameter, Å; None if it is not told any."""
        told = self.recipe.number("--particle_diameter", -1)
        return told if told > 0 else None

    @property
    def symmetry(self) -> str:
        """RELION's point group."""
        return self.recipe.value("--sym", "C1")

    @property
    def truth(self) -> Path | None:
        """None: nobody knows it."""
        return None

    @property
    def cores(self) -> int:
        """How many a refinement keeps busy."""
        return self.recipe.cores

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that must be there."""
        return (self.recipe.start[0], self.recipe.start[-1])

    def words(self, output: str, seed: int, arm_words: Sequence[str] = ()) -> list[str]:
        """Return RELION's command from the first iteration on."""
        return self.recipe.words(output, seed, arm_words)

    def told(self) -> dict[str, Any]:
        """Return the hashes of the files, and where RELION starts."""
        return {**self.hashes, "working_directory": str(self.folder)}

    def score(self, job: Path) -> Scores:
        """Return what RELION and the hook tell of a refinement."""
        return course(job)


def read_own_particles(
    recipe: UserRecipe, folder: Path, output: Path, hold_out_fraction: float | None, *, redo: bool = False
) -> OwnParticles:
    """Return the particles of a command, a part of them held out.

    Parameters
    ----------
    folder : RELION's working directory
    output : the comparison's folder, where the particles are written anew if some are held out
    redo : replace a part that was held out before

    Raises
    ------
    UsageError : a path has a space, a file is missing, or the particles have no angles for a local search.
    StarError, MapError : the particles or the reference cannot be read.
    """
    for path in (folder, output):
        refuse_spaces(path)
    source, reference = (_file(recipe.value(option), option, folder) for option in ("--i", "--ref"))
    particles = read_particles(source)
    if not particles.has_image_names:
        raise InputError(f"{source}: names no images ({labels.IMAGE_NAME}); is it a STAR file of particles?")
    if recipe.local_from_the_start and not particles.has_poses:
        raise UsageError(
            f"{source}: the particles have no angles, but the command searches locally from the start "
            f"(HEALPix order {recipe.number('--healpix_order', 2):g}, local from {recipe.local_order} on)."
        )
    read_map(reference)
    for group in grouped(recipe.options):
        if group[0] in MASK_OPTIONS:
            _file(" ".join(group[1:]), group[0], folder)
    hashes: dict[str, Any] = {"particles": _hash_of(particles, source, folder), "reference": file_sha256(reference)}
    notes = []
    if particles.half_sets() is not None:
        notes.append(f"The particles are divided already ({labels.HALF_SET}): all seeds have the same halves.")
    held_out = None
    if hold_out_fraction is not None:
        refined, held_out = hold_out(source, hold_out_fraction, output, redo=redo)
        hashes["held_out"] = file_sha256(held_out)
        recipe = replace(recipe, options=tuple(replaced(recipe.options, ("--i", str(refined)))))
        notes.append(_held_out_note(held_out, len(particles)))
    return OwnParticles(recipe, folder, reference, held_out, hashes, tuple(notes))


def _held_out_note(held_out: Path, total: int) -> str:
    count = len(read_particles(held_out))
    return f"{count} of {total} particles are held out of every arm ({held_out.name})."


def _file(text: str, option: str, folder: Path) -> Path:
    refuse_spaces(Path(text))
    path = folder / text
    if not path.is_file():
        raise UsageError(f"{option} {text}: there is no such file in {folder}, where RELION would start.")
    return path


def _hash_of(particles: ParticleFile, source: Path, folder: Path) -> str:
    """Return a hash of the STAR file and of each stack's name, size, and first and last bytes.

    All bytes of all stacks may be terabytes.
    """
    digest = hashlib.sha256(source.read_bytes())
    for name in particles.stacks():
        stack = folder / name
        if not stack.is_file():
            raise UsageError(
                f"{source}: names the images {name}, which are not in {folder}; start where RELION starts."
            )
        size = stack.stat().st_size
        with stack.open("rb") as file:
            digest.update(f"{name} {size} ".encode("utf-8", "surrogateescape") + file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
            digest.update(file.read(_ENDS))
    return digest.hexdigest()
