"""Particle STAR files: poses, shifts and CTF columns, read and written; a part of the rows, as they stand.

A pose is the rotation Rz(rot) Ry(tilt) Rz(psi) that turns the image's frame into the map's. A particle's shift is
RELION's origin, Å: what must be added to an image to centre it. RELION 3.1 and later write it so, and optics groups
beside the particles; earlier ones write one table (``data_`` or ``data_images``) with shifts in px.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from extrecon.errors import StarError
from extrecon.relion import labels
from extrecon.relion.star import StarFile, read_star
from extrecon.system.files import replacing

FloatArray = npt.NDArray[np.float64]

EULER_AXES: Final = "ZYZ"
"""Of rot, tilt and psi; capitals: each turn is about an axis that the turns before it have moved."""
_PARTICLES, _OPTICS = "particles", "optics"
_ANGSTROM_PER_MICROMETRE = 1e4


@dataclass(frozen=True)
class Optics:
    """An optics group: what all its images have in common.

    Attributes
    ----------
    box : of the images, px
    """

    box: int
    pixel_size_angstrom: float
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.1

    def _columns(self) -> dict[str, str]:
        return {
            labels.OPTICS_GROUP_NAME: "simulated",
            labels.OPTICS_GROUP: "1",
            labels.VOLTAGE: f"{self.voltage_kv:g}",
            labels.SPHERICAL_ABERRATION: f"{self.spherical_aberration_mm:g}",
            labels.AMPLITUDE_CONTRAST: f"{self.amplitude_contrast:g}",
            labels.IMAGE_PIXEL_SIZE: str(self.pixel_size_angstrom),
            labels.IMAGE_SIZE: str(self.box),
            labels.IMAGE_DIMENSIONALITY: "2",
        }


class ParticleFile:
    """The particles of a STAR file; each column is looked at only when it is asked for.

    Raises, in each method that returns a column
    --------------------------------------------
    StarError : the file has no such column, or it is damaged.
    """

    def __init__(self, file: StarFile) -> None:
        self._file = file
        flat = [name for name in file.loops() if file.has_column(name, labels.IMAGE_NAME)]
        self.block = _PARTICLES if file.has(_PARTICLES) or not flat else flat[0]

    def __len__(self) -> int:
        return len(self._file.texts(self.block, labels.IMAGE_NAME))

    @property
    def has_poses(self) -> bool:
        """Whether each particle has its three angles."""
        return all(self._has(label) for label in labels.ANGLES)

    @property
    def has_ctf(self) -> bool:
        """Whether each particle has a defocus."""
        return self._has(labels.DEFOCUS_U)

    @property
    def has_image_names(self) -> bool:
        """Whether each particle names its image."""
        return self._has(labels.IMAGE_NAME)

    def poses(self) -> Rotation:
        """Return the orientations."""
        return Rotation.from_euler(EULER_AXES, self._numbers(labels.ANGLES), degrees=True)

    def shifts_angstrom(self) -> FloatArray:
        """Return the shifts x and y, (particles, 2)."""
        if self.block == _PARTICLES or self._has(labels.ORIGINS[0]):
            return self._numbers(labels.ORIGINS)
        detector, magnification = self._numbers((labels.DETECTOR_PIXEL_SIZE, labels.DETECTOR_MAGNIFICATION)).T
        pixel_size: FloatArray = _ANGSTROM_PER_MICROMETRE * detector / magnification
        shifts: FloatArray = self._numbers(labels.ORIGINS_PX) * pixel_size[:, None]
        return shifts

    def image_numbers(self) -> list[int]:
        """Return each image's number in its stack, from 1."""
        names = self._file.texts(self.block, labels.IMAGE_NAME)
        try:
            return [int(name.partition("@")[0]) for name in names]
        except ValueError:
            raise StarError(
                f"{self._file.path}: _{labels.IMAGE_NAME} must be NUMBER@STACK, not {names[0]}."
            ) from None

    def stacks(self) -> list[str]:
        """Return the files that hold the images, each once, as they are named."""
        names = self._file.texts(self.block, labels.IMAGE_NAME)
        return list(dict.fromkeys(name.rpartition("@")[2] for name in names))

    def half_sets(self) -> FloatArray | None:
        """Return each particle's half-set, 1 or 2; None if there are none."""
        return self._file.column(self.block, labels.HALF_SET) if self._has(labels.HALF_SET) else None

    def texts(self, label: str) -> list[str] | None:
        """Return a column as text; None if there is none."""
        return self._file.texts(self.block, label) if self._has(label) else None

    def _has(self, label: str) -> bool:
        return self._file.has_column(self.block, label)

    def _numbers(self, of: tuple[str, ...]) -> FloatArray:
        return np.stack([self._file.column(self.block, label) for label in of], axis=1)


def read_particles(path: Path) -> ParticleFile:
    """Read a particle STAR file.

    Raises
    ------
    StarError : missing, empty, cut off, or not a STAR file.
    """
    return ParticleFile(read_star(path))


def some_particles(source: Path, chosen: npt.NDArray[np.bool_]) -> bytes:
    """Return a STAR file's content with some of its particles; all else, as optics groups, stays letter by letter.

    Parameters
    ----------
    chosen : (particles,)

    Raises
    ------
    StarError : the file is no STAR file of so many particles.
    """
    particles = read_particles(source)
    if len(particles) != len(chosen):
        raise StarError(f"{source}: holds {len(particles)} particles, but {len(chosen)} were expected.")
    left: list[str] = []
    block, row, in_loop = "", 0, False
    for line in source.read_text("utf-8", "surrogateescape").split("\n"):
        word = line.strip()
        if word.startswith("data_"):
            block, in_loop = word.removeprefix("data_"), False
        elif word == "loop_":
            in_loop = True
        elif in_loop and block == particles.block and word and word[0] not in "_#":
            row += 1
            if not chosen[row - 1]:
                continue
        left.append(line)
    return "\n".join(left).encode("utf-8", "surrogateescape")


def write_particles(
    path: Path,
    optics: Optics,
    poses: Rotation | None = None,
    shifts_angstrom: FloatArray | None = None,
    stack: str | None = None,
    columns: Mapping[str, FloatArray] | None = None,
    count: int | None = None,
) -> None:
    """Write a particle STAR file with one optics group; angles, degrees, and shifts to four decimals.

    Parameters
    ----------
    poses : orientations; None leaves the angles out
    shifts_angstrom : (particles, 2), x and y; None leaves them out
    stack : file name of the images; None leaves their names out
    columns : further columns by label, each (particles,)
    count : number of particles, where no column tells
    """
    numbers: dict[str, FloatArray] = {}
    if poses is not None:
        numbers |= dict(zip(labels.ANGLES, poses.as_euler(EULER_AXES, degrees=True).T, strict=True))
    if shifts_angstrom is not None:
        numbers |= dict(zip(labels.ORIGINS, shifts_angstrom.T, strict=True))
    numbers |= columns or {}
    if count is None:
        count = len(next(iter(numbers.values())))
    cells = {label: [f"{value:.4f}" for value in column] for label, column in numbers.items()}
    cells[labels.OPTICS_GROUP] = ["1"] * count
    if stack is not None:
        cells[labels.IMAGE_NAME] = [f"{index:06d}@{stack}" for index in range(1, count + 1)]
    group = {label: [value] for label, value in optics._columns().items()}
    with replacing(path) as temporary:
        temporary.write_text(_loop(_OPTICS, group) + _loop(_PARTICLES, cells))


def _loop(block: str, cells: Mapping[str, list[str]]) -> str:
    header = "".join(f"_{label} #{index}\n" for index, label in enumerate(cells, 1))
    rows = "\n".join(" ".join(row) for row in zip(*cells.values(), strict=True))
    return f"\n# version 30001\n\ndata_{block}\n\nloop_\n{header}{rows}\n\n"
