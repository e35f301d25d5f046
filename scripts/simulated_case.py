"""What study_refinement refines: the true map of a structure, its mask, a first reference, and particles.

A case is named by its structure, and by what is unusual about it: see `ENDINGS`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import numpy.typing as npt
from detergent import with_belt
from scipy.spatial.transform import Rotation
from structures import SOURCES, structure
from training.pdb_entries import fetched

from extrecon.atoms.scattering import centre, extent, low_pass, scattering_map
from extrecon.fourier.masks import particle_mask
from extrecon.maps import HalfMap, read_map
from extrecon.maps.mrc import read_volume, write_volume
from extrecon.relion.particles import Optics, write_particles
from extrecon.simulate.orientations import cone, perturbed, single_axis
from extrecon.simulate.stack import write_stack

Volume = npt.NDArray[Any]

BOX, PIXEL_SIZE = 64, 2.7
MOST_OF_BOX = 0.94  # the particle's diameter; larger ones get larger pixels
PARTICLES = 1000
SIGNAL_TO_NOISE = 0.18
TURN_DEGREES = 3.0  # standard deviation of the start's error about each of three axes
SHIFT_PX = 0.5  # standard deviation of the particles' shifts; refinement starts at 0
REFERENCE_ANGSTROM = 20.0
MARGIN_ANGSTROM = 4.0
ROOM_FOR_BELT_ANGSTROM = 20.0  # of the diameter; the belt's narrowest part is where the particle is longest
MODEL = "model.cif"  # the structure as it lies in the true map
ENDINGS = "-noise, -12A, -cone40x80, -tilt60 or -belt"


def known(name: str) -> str:
    """Check a case's name: a structure that a package holds or a PDB id, and the ending."""
    base, _, ending = name.partition("-")
    if not re.fullmatch(r"[0-9][0-9A-Z]{3}", base):
        raise argparse.ArgumentTypeError(f"{name}: {base} is not a PDB id, such as {', '.join(SOURCES)}.")
    if not re.fullmatch(r"(noise|\d+A|cone\d+x\d+|tilt\d+|belt)?", ending):
        raise argparse.ArgumentTypeError(f"{name}: an ending is one of {ENDINGS}.")
    return name


def pixel_size_of(home: Path) -> float:
    """Return the pixel size, Å, of the case in a folder."""
    return read_map(home / "truth.mrc").pixel_size_angstrom


def simulate(name: str, work: Path) -> None:
    """Make the true map, the mask, the first reference and the particles of a case, in WORK/NAME."""
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    base, _, ending = name.partition("-")
    packaged = base in SOURCES
    found = structure(base, work / "packages") if packaged else fetched(base, work / "entries")
    truth, pixel_size, diameter = true_map(found, belt=ending == "belt")
    found.make_mmcif_document().write_file(str(folder / MODEL))
    write_volume(folder / "truth.mrc", truth, pixel_size)
    write_volume(folder / "reference.mrc", low_pass(truth, REFERENCE_ANGSTROM, pixel_size), pixel_size)
    write_volume(folder / "mask.mrc", particle_mask(HalfMap(truth, pixel_size), diameter), pixel_size)
    (folder / "diameter.txt").write_text(f"{diameter:.0f}\n")
    cut_off = re.fullmatch(r"(\d+)A", ending)
    seen = 0 * truth if ending == "noise" else truth
    seen = low_pass(truth, float(cut_off[1]), pixel_size) if cut_off else seen
    write_volume(folder / "seen.mrc", seen, pixel_size)
    rng = np.random.default_rng(sum(base.encode()))
    make_particles(folder, views(ending, rng), pixel_size, rng)


def true_map(found: gemmi.Structure, *, belt: bool) -> tuple[Volume, float, float]:
    """Return the map, scaled for its projections, its pixel size and the particle's diameter, Å."""
    centre(found, BOX, PIXEL_SIZE)
    diameter = 2 * (extent(found, BOX, PIXEL_SIZE) + MARGIN_ANGSTROM)
    pixel_size = max(PIXEL_SIZE, round(diameter / (MOST_OF_BOX * BOX), 2))
    centre(found, BOX, pixel_size)
    truth = scattering_map(found, BOX, pixel_size)
    if belt:
        truth = with_belt(truth, found, pixel_size)
        diameter = min(diameter + ROOM_FOR_BELT_ANGSTROM, BOX * pixel_size)
    return truth * (np.sqrt(SIGNAL_TO_NOISE) / truth.sum(axis=0).std()), pixel_size, diameter


def views(ending: str, rng: np.random.Generator) -> Rotation:
    """Return the true orientations: uniform, with a share of them in a cone about z, or all of one tilt."""
    if in_cone := re.fullmatch(r"cone(\d+)x(\d+)", ending):
        count = round(PARTICLES * int(in_cone[2]) / 100)
        inside = cone(count, rng, (0, float(in_cone[1])))
        everywhere = Rotation.random(PARTICLES - count, random_state=rng) if count < PARTICLES else None
        poses = inside if everywhere is None else Rotation.concatenate([inside, everywhere])
        return poses[rng.permutation(PARTICLES)]
    if tilted := re.fullmatch(r"tilt(\d+)", ending):
        return single_axis(PARTICLES, rng, float(tilted[1]))
    return Rotation.random(PARTICLES, random_state=rng)


def make_particles(folder: Path, true: Rotation, pixel_size: float, rng: np.random.Generator) -> None:
    """Project the map, add white noise, and turn the starting angles."""
    optics = Optics(BOX, pixel_size)
    shifts = rng.normal(0, SHIFT_PX * pixel_size, (PARTICLES, 2))
    write_particles(folder / "true.star", optics, true, shifts)
    project = ["relion_project", "--i", "seen.mrc", "--ang", "true.star", "--o", "projections"]
    subprocess.run(project, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    images = read_volume(folder / "projections.mrcs")
    (folder / "projections.mrcs").unlink()
    images = images + rng.standard_normal(images.shape, dtype=np.float32)
    write_stack(folder / "particles.mrcs", images, pixel_size)
    start = perturbed(true, TURN_DEGREES, rng)
    write_particles(folder / "particles.star", optics, start, np.zeros_like(shifts), "particles.mrcs")
