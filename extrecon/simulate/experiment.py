"""A simulated experiment: what is asked for, checked, made and written, with its truth and its provenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from extrecon.atoms.scattering import (
    centre,
    extent,
    frequencies,
    low_pass,
    place_origin,
    read_structure,
    scattering_map,
)
from extrecon.errors import UsageError
from extrecon.fourier.masks import particle_mask
from extrecon.maps.half_map import HalfMap
from extrecon.maps.mrc import read_map, write_volume
from extrecon.relion import labels
from extrecon.relion.particles import Optics, write_particles
from extrecon.simulate import orientations
from extrecon.simulate.motion import moved
from extrecon.simulate.names import MODEL
from extrecon.simulate.noise import gaussian_noise
from extrecon.simulate.projection import contrast_transfer, project, shift_and_blur
from extrecon.simulate.stack import write_stack
from extrecon.system.files import replacing

FloatArray = npt.NDArray[np.float64]
Report = Callable[[str, float], None]

ORIENTATIONS = ("uniform", "healpix", "cone", "axis")
MARGIN_ANGSTROM = 4.0
_CHUNK = 256
_MAP_SUFFIXES = (".mrc", ".map", ".ccp4")


@dataclass(frozen=True)
class Plan:
    """All that decides a simulated data set.

    Attributes
    ----------
    box : of the images of a structure, px; None for 64. A map has its own
    pixel_size_angstrom : of the images; None for a map's own
    particles : number of images; with a HEALPix grid the grid decides
    assembly : biological assembly to build, by its name in the file
    keep_origin : leave the structure's own origin in the middle of the box, where a symmetric one has its axes
    b_factor : Å², added to the structure's own B factors
    low_pass_angstrom : what is finer is removed from the map that is projected
    orientations : one of `ORIENTATIONS`; ``step_degrees`` is the grid's, ``tilt_degrees`` the smallest and largest
    cone_fraction : share of the particles that a cone or axis holds; the others are uniform
    signal_to_noise : variance of the signal over that of the noise, whole image; None with ``noise_sd`` None: no
        noise; 0: noise alone
    noise_sd : standard deviation of the noise in units of the projections, in place of the ratio
    noise_correlation_angstrom : 0 for white noise
    shift_px : standard deviation of the particles' shifts
    perturb_degrees : standard deviation of the starting angles' errors about each axis; None leaves angles out
    defocus_angstrom : smallest and largest; None for no CTF
    astigmatism_angstrom : largest difference of the two defoci
    moving_chain, moving_degrees, moving_states : local heterogeneity, see `extrecon.simulate.motion`
    """

    source: Path
    box: int | None = None
    pixel_size_angstrom: float | None = None
    particles: int = 1000
    assembly: str | None = None
    keep_origin: bool = False
    symmetry: str = "C1"
    b_factor: float = 0.0
    low_pass_angstrom: float | None = None
    orientations: str = "uniform"
    step_degrees: float = 1.5
    tilt_degrees: tuple[float, float] = (0.0, 180.0)
    cone_fraction: float = 1.0
    signal_to_noise: float | None = None
    noise_sd: float | None = None
    noise_correlation_angstrom: float = 0.0
    shift_px: float = 0.5
    perturb_degrees: float | None = None
    defocus_angstrom: tuple[float, float] | None = None
    astigmatism_angstrom: float = 0.0
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.1
    reference_angstrom: float = 20.0
    moving_chain: str | None = None
    moving_degrees: float = 10.0
    moving_states: int = 5
    seed: int = 1

    @property
    def structure_box(self) -> int:
        """Image size for a structure, px."""
        return 64 if self.box is None else self.box

    @property
    def from_map(self) -> bool:
        """Whether the source is a map."""
        return self.source.suffix.lower() in _MAP_SUFFIXES


def simulate(plan: Plan, folder: Path, report: Report) -> dict[str, object]:
    """Make the data set in a folder, which must be there, and return what ``simulation.json`` holds.

    Writes the map that the images show (``truth.mrc``, in the images' grey scale), its low-passed first reference,
    a mask, the stack, the STAR file to refine, the true poses, and the atoms in the map's frame.

    Raises
    ------
    UsageError : a part of the plan makes no sense.
    InputError : the source cannot be used.
    """
    _check(plan)
    rng = np.random.default_rng(plan.seed)
    report("map", 0.0)
    states, pixel, diameter, model = _maps(plan)
    report("map", 1.0)
    box = len(states[0])
    true = _poses(plan, rng)
    count = len(true)
    shifts = rng.normal(0, plan.shift_px * pixel, (count, 2))
    state = rng.integers(len(states), size=count)
    columns = _defoci(plan, count, rng)
    images = _signal(plan, states, state, true, shifts, columns, pixel, report)
    noise_sd = _noise_sd(plan, images)
    scale = 1.0 / noise_sd if noise_sd > 0 else 1.0  # RELION wants noise of standard deviation 1
    _add_noise(plan, images, scale, noise_sd, pixel, rng)
    _write_maps(folder, states[0] * scale, pixel, diameter, plan)
    write_stack(folder / "particles.mrcs", images, pixel)
    optics = Optics(box, pixel, plan.voltage_kv, plan.spherical_aberration_mm, plan.amplitude_contrast)
    told = dict(columns)
    if len(states) > 1:
        told[labels.CLASS_NUMBER] = np.asarray(state + 1, np.float64)
    write_particles(folder / "true.star", optics, true, shifts, "particles.mrcs", told)
    start = None if plan.perturb_degrees is None else orientations.perturbed(true, plan.perturb_degrees, rng)
    write_particles(folder / "particles.star", optics, start, np.zeros_like(shifts), "particles.mrcs", columns)
    if model is not None:
        with replacing(folder / MODEL) as temporary:
            model.make_mmcif_document().write_file(str(temporary))
    return _write_provenance(plan, folder, box, pixel, count, diameter, noise_sd)


def _check(plan: Plan) -> None:
    """Refuse the first thing that makes no sense."""
    for is_wrong, sentence in (*_of_the_design(plan), *_of_amounts(plan), *_of_a_map(plan)):
        if is_wrong:
            raise UsageError(sentence)


def _of_the_design(plan: Plan) -> list[tuple[bool, str]]:
    """Return what may be wrong with the particles and their orientations, and whether it is."""
    return [
        (plan.particles < 1, f"There must be at least one particle, not {plan.particles}."),
        (
            plan.structure_box < 16 or plan.structure_box % 2 == 1,
            f"The box must be even and at least 16 px, not {plan.box}.",
        ),
        (
            plan.orientations not in ORIENTATIONS,
            f"Orientations '{plan.orientations}' are unknown; give {', '.join(ORIENTATIONS)}.",
        ),
        (
            plan.signal_to_noise is not None and plan.noise_sd is not None,
            "Give the noise by its ratio to the signal or by its standard deviation, not both.",
        ),
        (
            not 0 < plan.cone_fraction <= 1,
            f"A cone's share must be over 0 and at most 1, not {plan.cone_fraction:g}.",
        ),
        (
            plan.cone_fraction < 1 and plan.orientations not in ("cone", "axis"),
            f"Only a cone or an axis can hold a share of the particles; orientations are {plan.orientations}.",
        ),
    ]


def _of_amounts(plan: Plan) -> list[tuple[bool, str]]:
    """Return what may be wrong with noise, shifts, the pixel size and defoci, and whether it is."""
    return [
        ((plan.signal_to_noise or 0) < 0, f"A signal-to-noise ratio cannot be {plan.signal_to_noise}."),
        ((plan.noise_sd or 0) < 0, f"A standard deviation of noise cannot be {plan.noise_sd}."),
        (plan.shift_px < 0, f"A standard deviation of shifts cannot be {plan.shift_px}."),
        ((plan.perturb_degrees or 0) < 0, f"A standard deviation of angles cannot be {plan.perturb_degrees}."),
        (plan.noise_correlation_angstrom < 0, "The noise's correlation length cannot be negative."),
        (
            plan.pixel_size_angstrom is not None and not 0 < plan.pixel_size_angstrom < 100,
            f"A pixel size of {plan.pixel_size_angstrom} Å makes no sense.",
        ),
        (
            not plan.from_map and plan.pixel_size_angstrom is None,
            f"{plan.source}: a structure has no pixel size; give one with --pixel-size (Å).",
        ),
        (
            plan.defocus_angstrom is not None and not 0 <= plan.defocus_angstrom[0] <= plan.defocus_angstrom[1],
            f"Defoci must run from the smaller to the larger, in Å, underfocus positive: {plan.defocus_angstrom}.",
        ),
    ]


def _of_a_map(plan: Plan) -> list[tuple[bool, str]]:
    """Return what a map does not have, and whether it was asked for."""
    return [
        (
            plan.from_map and plan.moving_chain is not None,
            f"{plan.source}: is a map, and a map has no chains to move.",
        ),
        (
            plan.from_map and plan.box is not None,
            f"{plan.source}: is a map, which has its own box; --box {plan.box} is for structures.",
        ),
        (
            plan.from_map and (plan.assembly is not None or plan.keep_origin),
            f"{plan.source}: is a map, which has no assemblies and no origin of its own.",
        ),
    ]


def _maps(plan: Plan) -> tuple[list[FloatArray], float, float, gemmi.Structure | None]:
    """Return the map of each conformation, the pixel size, the particle's diameter (Å), and the atoms."""
    if plan.from_map:
        given = read_map(plan.source, plan.pixel_size_angstrom)
        volume = _filtered(np.asarray(given.density, np.float64), plan, given.pixel_size_angstrom)
        return [volume], given.pixel_size_angstrom, 0.9 * given.box * given.pixel_size_angstrom, None
    pixel, box = float(plan.pixel_size_angstrom or 0), plan.structure_box
    model = read_structure(plan.source, plan.assembly)
    (place_origin if plan.keep_origin else centre)(model, box, pixel)
    diameter = 2 * (extent(model, box, pixel) + MARGIN_ANGSTROM)
    if diameter > box * pixel:
        raise UsageError(
            f"{plan.source}: the particle is {diameter:.0f} Å across, but a box of {box} px at {pixel:g} Å "
            f"is only {box * pixel:.0f} Å; take at least {2 * int(np.ceil(diameter / pixel / 2))} px."
        )
    finest = plan.low_pass_angstrom
    if finest is not None and finest < 2 * pixel:
        raise UsageError(f"A low-pass at {finest:g} Å does nothing: {pixel:g} Å/px ends at {2 * pixel:g} Å.")
    models = [model]
    if plan.moving_chain is not None:
        models = moved(model, plan.moving_chain, plan.moving_degrees, plan.moving_states)
    states = [_filtered(scattering_map(each, box, pixel), plan, pixel) for each in models]
    return states, pixel, diameter, model


def _filtered(volume: FloatArray, plan: Plan, pixel: float) -> FloatArray:
    if plan.b_factor:
        decay = np.exp(-plan.b_factor * frequencies(len(volume), pixel) ** 2 / 4)
        volume = np.fft.ifftn(np.fft.fftn(volume) * np.fft.ifftshift(decay)).real
    return volume if plan.low_pass_angstrom is None else low_pass(volume, plan.low_pass_angstrom, pixel)


def _poses(plan: Plan, rng: np.random.Generator) -> Rotation:
    if plan.orientations == "uniform":
        return orientations.uniform(plan.particles, rng)
    if plan.orientations == "healpix":
        return orientations.healpix_grid(plan.step_degrees, rng, plan.tilt_degrees)
    preferred = round(plan.cone_fraction * plan.particles)
    if plan.orientations == "cone":
        some = orientations.cone(preferred, rng, plan.tilt_degrees)
    else:
        some = orientations.single_axis(preferred, rng, plan.tilt_degrees[1])
    rest = plan.particles - preferred
    return Rotation.concatenate([some, orientations.uniform(rest, rng)]) if rest else some


def _defoci(plan: Plan, count: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    if plan.defocus_angstrom is None:
        return {}
    mean = rng.uniform(*plan.defocus_angstrom, count)
    half = rng.uniform(0, plan.astigmatism_angstrom, count) / 2
    angle = rng.uniform(0, 180, count)
    return {labels.DEFOCUS_U: mean + half, labels.DEFOCUS_V: mean - half, labels.DEFOCUS_ANGLE: angle}


def _signal(
    plan: Plan,
    states: list[FloatArray],
    state: npt.NDArray[np.int64],
    true: Rotation,
    shifts: FloatArray,
    defoci: dict[str, FloatArray],
    pixel: float,
    report: Report,
) -> FloatArray:
    """Return the noise-free images, each of its own conformation, (particles, n, n)."""
    box = len(states[0])
    images = np.empty((len(true), box, box))
    order = np.argsort(state, kind="stable")
    for start in range(0, len(order), _CHUNK):
        for which in np.unique(state[order[start : start + _CHUNK]]):
            some = [index for index in order[start : start + _CHUNK] if state[index] == which]
            ctf = None
            if defoci:
                lens = (plan.voltage_kv, plan.spherical_aberration_mm, plan.amplitude_contrast)
                own = np.stack([column[some] for column in defoci.values()])
                ctf = contrast_transfer(own, box, pixel, *lens)
            images[some] = shift_and_blur(project(states[which], true[some]), shifts[some], pixel, ctf)
        report("projections", min(1.0, (start + _CHUNK) / len(order)))
    return images


def _noise_sd(plan: Plan, images: FloatArray) -> float:
    """Return the noise's standard deviation in units of the projections."""
    if plan.noise_sd is not None:
        return plan.noise_sd
    if plan.signal_to_noise is None:
        return 0.0
    signal = float(np.sqrt(images.var(axis=(1, 2)).mean()))
    return signal / float(np.sqrt(plan.signal_to_noise)) if plan.signal_to_noise else signal


def _add_noise(
    plan: Plan, images: FloatArray, scale: float, noise_sd: float, pixel: float, rng: np.random.Generator
) -> None:
    """Bring the images to the grey scale in which noise has a standard deviation of 1, and add it, in place."""
    images *= 0.0 if plan.signal_to_noise == 0 else scale
    if noise_sd > 0:
        images += gaussian_noise(images.shape, rng, plan.noise_correlation_angstrom / pixel)


def _write_maps(folder: Path, truth: FloatArray, pixel: float, diameter: float, plan: Plan) -> None:
    write_volume(folder / "truth.mrc", truth, pixel)
    write_volume(folder / "reference.mrc", low_pass(truth, plan.reference_angstrom, pixel), pixel)
    write_volume(folder / "mask.mrc", particle_mask(HalfMap(truth, pixel), diameter), pixel)


def _write_provenance(
    plan: Plan, folder: Path, box: int, pixel: float, count: int, diameter: float, noise_sd: float
) -> dict[str, object]:
    packages = ("extrecon", "gemmi", "numpy", "torch", "torch-fourier-slice", "torch-ctf", "healpix")
    told: dict[str, object] = {
        "plan": asdict(plan) | {"source": str(plan.source)},
        "source_sha256": hashlib.sha256(plan.source.read_bytes()).hexdigest(),
        "box": box,
        "pixel_size_angstrom": pixel,
        "particles": count,
        "particle_diameter_angstrom": round(diameter, 1),
        "symmetry": plan.symmetry,
        "noise_sd_in_projection_units": noise_sd,
        "versions": {name: version(name) for name in packages},
    }
    with replacing(folder / "simulation.json") as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n")
    return told
