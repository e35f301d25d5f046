"""The images of a particle STAR file, read a few at a time, and what their CTFs are made of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from extrecon.errors import InputError, MapError, StarError
from extrecon.relion import labels
from extrecon.relion.particles import ParticleFile
from extrecon.relion.star import StarFile, read_star

FloatArray = npt.NDArray[np.float64]
_PARTICLES, _OPTICS = "particles", "optics"


@dataclass(frozen=True)
class Lens:
    """What each image's CTF is made of, (images,) each but the first.

    Attributes
    ----------
    defoci : (3, images): ``rlnDefocusU``, ``rlnDefocusV``, Å, and ``rlnDefocusAngle``, degrees
    phase_shifts_degrees : of a phase plate
    b_factors, scales : the envelope scale · exp(−B s² / 4), s in 1/Å, B in Å²
    voltages_kv, spherical_aberrations_mm, amplitude_contrasts : of the image's optics group
    """

    defoci: FloatArray
    phase_shifts_degrees: FloatArray
    b_factors: FloatArray
    scales: FloatArray
    voltages_kv: FloatArray
    spherical_aberrations_mm: FloatArray
    amplitude_contrasts: FloatArray


@dataclass(frozen=True)
class ParticleImages:
    """Images with their poses.

    Attributes
    ----------
    path : of the STAR file
    names : (images,) number in the stack, from 1, and the stack
    box : px
    pixel_size_angstrom : of all images
    poses : orientations, see `extrecon.relion.particles`
    shifts_angstrom : (images, 2), x and y: what must be added to an image to centre it
    lens : of the CTFs; None for images without a defocus
    """

    path: Path
    names: Sequence[tuple[int, Path]]
    box: int
    pixel_size_angstrom: float
    poses: Rotation
    shifts_angstrom: FloatArray
    lens: Lens | None

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.names)

    def read(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> FloatArray:
        """Return some images as they are in their stacks, (rows, n, n), axes y, x.

        Raises
        ------
        MapError : a stack is missing or damaged, lacks an image, or has another size.
        """
        images = np.empty((len(rows), self.box, self.box))
        stacks: dict[Path, Any] = {}
        for place, row in enumerate(rows):
            number, path = self.names[row]
            if path not in stacks:
                stacks[path] = _open_stack(path, self.box)
            if not 1 <= number <= len(stacks[path]):
                raise MapError(f"{path}: holds {len(stacks[path])} images, but {self.path} names number {number}.")
            images[place] = stacks[path][number - 1]
        if not np.isfinite(images).all():
            raise MapError(f"{self.path}: some of its images hold values that are not finite.")
        return images


def read_images(path: Path, poses_from: Path | None = None) -> ParticleImages:
    """Read a particle STAR file of RELION 3.1 or later whose images can be scored against projections.

    Stacks are looked for from the STAR file's folder upwards, as names count from RELION's project folder.

    Parameters
    ----------
    path : of the STAR file
    poses_from : STAR file whose poses are taken, by image name; None for the file's own

    Raises
    ------
    StarError : a column is missing or damaged.
    InputError : a stack or a pose is missing, optics groups differ in size or pixel size, or images were
        multiplied by their CTF, or have aberrations or a magnification matrix, which are not corrected here.
    """
    star = read_star(path)
    groups = _groups(star)
    box, pixel = (_common(star, label) for label in (labels.IMAGE_SIZE, labels.IMAGE_PIXEL_SIZE))
    names = star.texts(_PARTICLES, labels.IMAGE_NAME)
    posed, order = _posed(star, names, poses_from)
    return ParticleImages(
        path=path,
        names=_found(path, names),
        box=int(box),
        pixel_size_angstrom=pixel,
        poses=posed.poses()[order],
        shifts_angstrom=posed.shifts_angstrom()[order],
        lens=_lens(star, groups),
    )


def _groups(star: StarFile) -> npt.NDArray[np.int64]:
    """Return the row of each particle's optics group, having refused what no projection here can show."""
    path = star.path
    for label in (*labels.ABERRATIONS, labels.CTF_PREMULTIPLIED):
        for block in (_OPTICS, _PARTICLES):
            if star.has_column(block, label) and any(_is_not_zero(text) for text in star.texts(block, label)):
                raise InputError(f"{path}: has images with _{label}, which cannot be scored here.")
    for label, wanted in zip(labels.MAGNIFICATION, (1.0, 0.0, 0.0, 1.0), strict=True):
        if star.has_column(_OPTICS, label) and (np.abs(star.column(_OPTICS, label) - wanted) > 1e-9).any():
            raise InputError(f"{path}: has images with a magnification matrix, which cannot be scored here.")
    known = {int(number): row for row, number in enumerate(star.column(_OPTICS, labels.OPTICS_GROUP))}
    asked = star.column(_PARTICLES, labels.OPTICS_GROUP).astype(int)
    absent = sorted(set(asked.tolist()) - set(known))
    if absent:
        raise StarError(f"{path}: there is no optics group {absent[0]}, which a particle belongs to.")
    return np.array([known[number] for number in asked.tolist()], dtype=np.int64)


def _is_not_zero(text: str) -> bool:
    return any(float(part) != 0 for part in text.strip("[]").split(",") if part.strip())


def _common(star: StarFile, label: str) -> float:
    values = star.column(_OPTICS, label)
    if np.ptp(values) > 1e-6 * values.max():
        span = f"{values.min():g} and {values.max():g}"
        raise InputError(f"{star.path}: its optics groups differ in _{label}: {span}.")
    return float(values[0])


def _posed(star: StarFile, names: list[str], poses_from: Path | None) -> tuple[ParticleFile, list[int]]:
    if poses_from is None:
        return ParticleFile(star), list(range(len(names)))
    other = read_star(poses_from)
    place = {name: row for row, name in enumerate(other.texts(_PARTICLES, labels.IMAGE_NAME))}
    missing = [name for name in names if name not in place]
    if missing:
        raise InputError(f"{poses_from}: has no pose for the image {missing[0]} of {star.path}.")
    return ParticleFile(other), [place[name] for name in names]


def _found(path: Path, names: list[str]) -> list[tuple[int, Path]]:
    known: dict[str, Path] = {}
    found = []
    for name in names:
        number, _, stack = name.partition("@")
        if not stack or not number.isdigit():
            raise StarError(f"{path}: _{labels.IMAGE_NAME} must be NUMBER@STACK, not {name}.")
        if stack not in known:
            known[stack] = _stack_of(path, stack)
        found.append((int(number), known[stack]))
    return found


def _stack_of(path: Path, stack: str) -> Path:
    for folder in (*path.absolute().parents, Path.cwd()):
        if (folder / stack).is_file():
            return folder / stack
    raise InputError(
        f"{path}: its stack {stack} is neither beside it, nor in a folder above, nor in the working directory."
    )


def _lens(star: StarFile, groups: npt.NDArray[np.int64]) -> Lens | None:
    if not star.has_column(_PARTICLES, labels.DEFOCUS_U):
        return None

    def own(label: str, default: float) -> FloatArray:
        has = star.has_column(_PARTICLES, label)
        return star.column(_PARTICLES, label) if has else np.full(len(groups), default)

    defoci = np.stack(
        [star.column(_PARTICLES, each) for each in (labels.DEFOCUS_U, labels.DEFOCUS_V, labels.DEFOCUS_ANGLE)]
    )
    voltage, aberration, contrast = (
        star.column(_OPTICS, label)[groups]
        for label in (labels.VOLTAGE, labels.SPHERICAL_ABERRATION, labels.AMPLITUDE_CONTRAST)
    )
    return Lens(
        defoci=defoci,
        phase_shifts_degrees=own(labels.PHASE_SHIFT, 0.0),
        b_factors=own(labels.CTF_B_FACTOR, 0.0),
        scales=own(labels.CTF_SCALE, 1.0),
        voltages_kv=voltage,
        spherical_aberrations_mm=aberration,
        amplitude_contrasts=contrast,
    )


def _open_stack(path: Path, box: int) -> Any:
    """Return a stack's images, (images, y, x), which are read as they are asked for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd headers: the size decides
            stack = mrcfile.mmap(path, mode="r", permissive=True).data
    except (OSError, ValueError) as error:
        raise MapError(f"{path}: not a readable MRC stack: {error}.") from error
    if stack is None or stack.ndim not in (2, 3) or stack.shape[-2:] != (box, box):
        shape = "nothing" if stack is None else "×".join(map(str, stack.shape[::-1]))
        raise MapError(f"{path}: holds {shape}, but images of {box}×{box} px were expected.")
    return stack.reshape(-1, box, box)
