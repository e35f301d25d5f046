"""Particle STAR files of RELION 3.1's kind, and image stacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from extrecon.system.files import replacing

Array = npt.NDArray[np.float64]
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")


def write_particles(
    path: Path,
    box: int,
    pixel_size_angstrom: float,
    poses: Rotation | None = None,
    shifts_angstrom: Array | None = None,
    stack: str | None = None,
    columns: Mapping[str, Array] | None = None,
    count: int | None = None,
    voltage_kv: float = 300,
    spherical_aberration_mm: float = 2.7,
    amplitude_contrast: float = 0.1,
) -> None:
    """Write a particle STAR file with one optics group.

    Parameters
    ----------
    poses : orientations, written as intrinsic ZYZ angles in degrees; None leaves the angles out
    shifts_angstrom : (particles, 2), ``rlnOriginXAngst`` and ``rlnOriginYAngst``
    stack : file name of the images; None leaves ``rlnImageName`` out
    columns : further columns by label, each (particles,)
    count : number of particles, where no column tells
    """
    numbers: dict[str, Array] = {}
    if poses is not None:
        numbers |= dict(zip(ANGLES, poses.as_euler("ZYZ", degrees=True).T, strict=True))
    if shifts_angstrom is not None:
        numbers |= dict(zip(ORIGINS, shifts_angstrom.T, strict=True))
    numbers |= columns or {}
    if count is None:
        count = len(next(iter(numbers.values())))
    cells = [[f"{value:.4f}" for value in column] for column in numbers.values()] + [["1"] * count]
    labels = [*numbers, "rlnOpticsGroup"]
    if stack is not None:
        labels.append("rlnImageName")
        cells.append([f"{index:06d}@{stack}" for index in range(1, count + 1)])
    optics = {
        "rlnOpticsGroupName": "simulated",
        "rlnOpticsGroup": 1,
        "rlnVoltage": f"{voltage_kv:g}",
        "rlnSphericalAberration": f"{spherical_aberration_mm:g}",
        "rlnAmplitudeContrast": f"{amplitude_contrast:g}",
        "rlnImagePixelSize": pixel_size_angstrom,
        "rlnImageSize": box,
        "rlnImageDimensionality": 2,
    }
    rows = [" ".join(row) for row in zip(*cells, strict=True)]
    text = _loop("optics", list(optics), [" ".join(map(str, optics.values()))]) + _loop("particles", labels, rows)
    with replacing(path) as temporary:
        temporary.write_text(text)


def _loop(block: str, labels: list[str], rows: list[str]) -> str:
    header = "".join(f"_{label} #{index}\n" for index, label in enumerate(labels, 1))
    return f"\n# version 30001\n\ndata_{block}\n\nloop_\n{header}" + "\n".join(rows) + "\n\n"


def write_stack(path: Path, images: npt.NDArray[np.floating], pixel_size_angstrom: float) -> None:
    """Write images, (particles, y, x), as an MRC stack."""
    with replacing(path) as temporary, mrcfile.new(temporary, overwrite=True) as stack:
        stack.set_data(np.ascontiguousarray(images, dtype=np.float32))
        stack.set_image_stack()
        stack.voxel_size = pixel_size_angstrom
