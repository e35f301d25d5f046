"""Accumulators as RELION writes them, of a random chain: what the benchmarks work on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt

from extrecon.relion.program import VARIABLE

PIXEL_SIZE = 1.5
OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 og1 300 2.7 0.1 {pixel} {box} 2


# version 30001

data_particles

loop_
_rlnAngleRot #1
_rlnAngleTilt #2
_rlnAnglePsi #3
_rlnOriginXAngst #4
_rlnOriginYAngst #5
_rlnOpticsGroup #6
"""


def make_accumulators(folder: Path, box: int, padding: int) -> Path:
    """Project a random chain with RELION, back-project it, and return the external-reconstruction STAR file."""
    rng = np.random.default_rng(1)
    with mrcfile.new(folder / "map.mrc") as mrc:
        mrc.set_data(random_chain(box, rng))
        mrc.voxel_size = PIXEL_SIZE
    count = 300
    turns = rng.uniform(-180, 180, (count, 2))
    tilts = np.degrees(np.arccos(rng.uniform(-1, 1, count)))
    rows = "".join(f"{rot:f} {tilt:f} {psi:f} 0 0 1\n" for (rot, psi), tilt in zip(turns, tilts, strict=True))
    (folder / "angles.star").write_text(OPTICS.format(pixel=PIXEL_SIZE, box=box) + rows)
    noise = "--add_noise --white_noise 9"
    project = f"relion_project --i map.mrc --ang angles.star --o images --angpix {PIXEL_SIZE} {noise}"
    back_project = f"relion_reconstruct --i images.star --o rec.mrc --pad {padding} --external_reconstruct"
    # RELION's own program crashes without the tau2 table, which only a refinement writes: the hook stands in.
    hook = Path(sys.executable).with_name("extrecon-hook")
    environ = os.environ | {VARIABLE: f"{hook} --apply never --daemon off"}
    for command in (project, back_project):
        told = subprocess.run(command.split(), cwd=folder, check=False, capture_output=True, text=True, env=environ)
        if told.returncode:
            sys.exit(f"{command} failed:\n{told.stderr}")
    star = folder / "rec_external_reconstruct.star"
    star.write_text(star.read_text() + tau2_table(box))
    return star


def random_chain(box: int, rng: np.random.Generator, beads: int = 2000) -> npt.NDArray[np.float32]:
    """Return soft beads along a random walk inside a sphere, (box, box, box)."""
    reach = 0.3 * box
    density = np.zeros((box, box, box), np.float32)
    position, offsets = np.zeros(3), np.arange(-4, 5)
    for _ in range(beads):
        step = rng.normal(size=3)
        position = position + 2.5 * step / np.linalg.norm(step)
        position *= min(1.0, reach / max(float(np.linalg.norm(position)), 1e-6))
        corner = np.floor(position).astype(int) + box // 2
        axes = [np.exp(-((c + offsets - p - box // 2) ** 2) / 3.0) for c, p in zip(corner, position, strict=True)]
        slices = tuple(slice(c - 4, c + 5) for c in corner)
        density[slices] += np.einsum("i,j,k->ijk", *axes).astype(np.float32)
    return density


def tau2_table(box: int) -> str:
    """Return the table that `relion_reconstruct` leaves out: power falling over two orders of magnitude."""
    shells = box // 2 + 1
    rows = "".join(f"{s} {1e-2 * np.exp(-5 * s / shells):e} {1 - s / shells:f} \n" for s in range(shells))
    return (
        "\n# version 30001\n\ndata_external_reconstruct_tau2\n\nloop_ \n_rlnSpectralIndex #1 \n"
        f"_rlnReferenceTau2 #2 \n_rlnGoldStandardFsc #3 \n{rows} \n"
    )
