"""Calls that RELION 5.0.1 made, as they lay on the disk; see tests/data/relion-5.0.1/README.md."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.maps.mrc import write_volume

CALLS = Path(__file__).resolve().parents[1] / "data" / "relion-5.0.1"
KINDS = tuple(sorted(folder.name for folder in CALLS.iterdir() if folder.is_dir()))


@dataclass(frozen=True)
class Recorded:
    """A call, unpacked.

    Attributes
    ----------
    star : its STAR file
    gridded, ungridded : the middle section of what RELION's own program makes of it, (n, n)
    """

    star: Path
    gridded: npt.NDArray[np.float32]
    ungridded: npt.NDArray[np.float32]


def unpack(kind: str, folder: Path) -> Recorded:
    """Write a call's files into a folder below ``folder``, named as RELION's was."""
    packed = next((CALLS / kind).glob("*.npz"))
    star = packed.with_name(f"{packed.stem}_external_reconstruct.star")
    job = folder / _folder_named_in(star)
    job.mkdir(exist_ok=True)
    for path in (CALLS / kind).glob("*.star"):
        shutil.copy(path, job)
    with np.load(packed) as arrays:
        inside = _inside(tuple(arrays["shape"]), int(arrays["radius"]))
        for name, values in zip(("weight", "data_real", "data_imag"), arrays["weight_real_imag"], strict=True):
            whole = np.zeros(inside.shape, np.float32)
            whole[inside] = values
            write_volume(job / f"{star.stem}_{name}.mrc", whole, 0.0)
        if "mask" in arrays:
            body = packed.stem.rpartition("_")[2]
            write_volume(job / f"run_{body}_mask.mrc", arrays["mask"], 10.8)
        return Recorded(job / star.name, arrays["gridded"], arrays["ungridded"])


def _folder_named_in(star: Path) -> str:
    named = next(line.split()[1] for line in star.read_text().splitlines() if "_rlnExtReconsWeight" in line)
    return named.partition("/")[0]


def _inside(shape: tuple[int, ...], radius: int) -> npt.NDArray[np.bool_]:
    size = shape[0]
    axes = [np.fft.fftfreq(size) * size] * (len(shape) - 1) + [np.arange(shape[-1])]
    return np.asarray(sum(np.meshgrid(*[axis**2 for axis in axes], indexing="ij", sparse=True)) <= radius**2)
