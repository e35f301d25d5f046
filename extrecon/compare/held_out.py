"""Particles that no arm has refined judge each arm's map: RELION's likelihood of them, ours at its poses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.compare.refinement import Cost, refine
from extrecon.errors import MapError, RefinementError, UsageError
from extrecon.fourier.masks import soft_sphere
from extrecon.maps.mrc import read_map, write_map
from extrecon.relion import labels
from extrecon.relion.images import read_images
from extrecon.relion.star import read_star
from extrecon.validate.held_out import EDGE_PX, HeldOutScore, noise_of_model, score_held_out

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.floating[Any]]

PROGRAM = "relion_refine"
REFERENCE, POSES, MODEL = "reference.mrc", "run_it001_data.star", "run_it000_model.star"
"""What an alignment leaves in its folder: the map that was given, the poses found, the noise power taken."""
_EMPTY = 1e-6  # RELION wants some power in a reference; so little of it leaves the likelihood as it is
_COARSEST_ORDER, _FINEST_ORDER = 1, 5


@dataclass(frozen=True)
class HeldOutSearch:
    """How RELION looks for the poses of unseen particles: the same for every map that is judged.

    Attributes
    ----------
    diameter_angstrom : of the particle, Å
    finest_angstrom : what is finer counts in no likelihood
    symmetry : point group
    ctf : whether the images show a CTF
    healpix_order : of the search; None for the coarsest that is fine enough for ``finest_angstrom``
    sigma_degrees : of a local search about the particles' own angles; None for all orientations
    offset_range_px, offset_step_px : of the shifts
    padding : of the reference in Fourier space
    threads, seed : RELION's
    more : further options for RELION, such as a user's own way with the CTF
    """

    diameter_angstrom: float
    finest_angstrom: float
    symmetry: str = "C1"
    ctf: bool = True
    healpix_order: int | None = None
    sigma_degrees: float | None = None
    offset_range_px: float = 5.0
    offset_step_px: float = 1.0
    padding: int = 2
    threads: int = 1
    seed: int = 1
    more: tuple[str, ...] = ()

    def words(self, particles: Path, reference: Path, output: str, box: int) -> list[str]:
        """Return the command of one expectation without a maximization.

        RELION takes into its likelihood what is coarser than the reference's own resolution and ``--incr_size``
        shells more, so that a blurred reference would be judged by fewer Fourier points than a sharp one; as many
        shells as the box has make it all of them for every reference, and ``--strict_highres_exp`` ends them at one
        limit. Without perturbation all references meet the same grid. The noise power is RELION's estimate from the
        images, which no reference enters. Norm and scale corrections are off: they follow from the reference.

        Parameters
        ----------
        output : how the names of RELION's files begin
        box : of the images, px
        """
        order = self.healpix_order if self.healpix_order is not None else self.usual_order
        words = [PROGRAM, "--o", output, "--i", str(particles), "--ref", str(reference), "--iter", "1", "--K", "1"]
        words += ["--skip_maximize", "--sym", self.symmetry, "--particle_diameter", f"{self.diameter_angstrom:g}"]
        words += ["--zero_mask", "--oversampling", "1", "--healpix_order", str(order), "--perturb", "0"]
        words += ["--offset_range", f"{self.offset_range_px:g}", "--offset_step", f"{self.offset_step_px:g}"]
        words += ["--strict_highres_exp", f"{self.finest_angstrom:g}", "--incr_size", str(box)]
        words += ["--pad", str(self.padding), "--j", str(self.threads), "--random_seed", str(self.seed)]
        words += ["--dont_check_norm", *(["--ctf", "--ctf_corrected_ref"] if self.ctf else [])]
        if self.sigma_degrees is not None:
            words += ["--sigma_ang", f"{self.sigma_degrees:g}"]
        return [*words, *self.more]

    @property
    def usual_order(self) -> int:
        """The coarsest HEALPix order whose step, halved by oversampling, moves the particle's rim by the limit."""
        needed_degrees = math.degrees(2 * self.finest_angstrom / self.diameter_angstrom)
        order = math.ceil(math.log2(60.0 / (2 * needed_degrees)))
        return min(max(order, _COARSEST_ORDER), _FINEST_ORDER)


@dataclass(frozen=True)
class Alignment:
    """What RELION found for unseen particles with a map.

    Attributes
    ----------
    reference : the map that RELION was given
    particles : their STAR file
    poses : RELION's STAR file, with the best pose of each
    model : RELION's, with the noise power that it took
    log_likelihoods : (particles,) in the order of ``particles``, natural logarithm, summed over all poses, with a
        constant that is the same for every map
    cost : time and memory
    """

    reference: Path
    particles: Path
    poses: Path
    model: Path
    log_likelihoods: FloatArray
    cost: Cost


def align_held_out(
    reference: Path,
    particles: Path,
    folder: Path,
    search: HeldOutSearch,
    *,
    working_directory: Path | None = None,
    mask: Mask | None = None,
    stop: Event | None = None,
) -> Alignment:
    """Have RELION find the poses of unseen particles with a map, and their likelihoods.

    RELION is given the map as it is inside the sphere of the particle's diameter, or inside a mask, and 0 outside:
    noise out there would count against it, and is in some final maps of RELION and not in others. The map should be
    the final one, whose shells RELION has damped by what it trusts them: an undamped one is less likely the
    noisier it is, which says little about what it shows.

    Parameters
    ----------
    reference : the map, in the images' grey scale, as RELION's are
    particles : STAR file of the unseen particles
    folder : for RELION's files
    search : the same for all maps
    working_directory : where RELION starts, from where the images' paths count; None for the STAR file's folder
    mask : (n, n, n), 0 to 1, the same for all maps; None for the sphere
    stop : ends RELION when it is set

    Raises
    ------
    UsageError : RELION cannot be started.
    RefinementError : RELION failed, was stopped, or left a particle out.
    MapError, StarError : the map or the particles cannot be read, or do not go together.
    """
    return _align(reference, particles, folder, search, working_directory, mask, stop, 1.0)


def align_with_empty(
    like: Path,
    particles: Path,
    folder: Path,
    search: HeldOutSearch,
    *,
    working_directory: Path | None = None,
    stop: Event | None = None,
) -> Alignment:
    """Have RELION tell the likelihoods with an empty map: from where those with a map are counted.

    Parameters
    ----------
    like : any map that is to be judged, for its grid
    particles, folder, search, working_directory, stop : as for `align_held_out`, which raises the same
    """
    return _align(like, particles, folder, search, working_directory, None, stop, _EMPTY)


def _align(
    reference: Path,
    particles: Path,
    folder: Path,
    search: HeldOutSearch,
    working_directory: Path | None,
    mask: Mask | None,
    stop: Event | None,
    factor: float,
) -> Alignment:
    given = read_map(reference)
    if mask is None:
        mask = soft_sphere(given.box, 0.5 * search.diameter_angstrom / given.pixel_size_angstrom, EDGE_PX)
    elif mask.shape != given.density.shape:
        raise MapError(f"{reference} is {given.box}³ voxels, but the mask is {mask.shape[0]}³.")
    folder.mkdir(parents=True, exist_ok=True)
    inside = folder.resolve() / REFERENCE
    write_map(inside, given.with_density(np.asarray(given.density * mask * factor, np.float32)))
    words = search.words(particles.resolve(), inside, str(folder.resolve() / "run"), given.box)
    cost = refine(words, "", working_directory or particles.resolve().parent, folder, stop=stop)
    poses, model = folder / POSES, folder / MODEL
    return Alignment(inside, particles, poses, model, _log_likelihoods(poses, particles), cost)


def _log_likelihoods(told: Path, particles: Path) -> FloatArray:
    star = read_star(told)
    names = star.texts("particles", labels.IMAGE_NAME)
    found = dict(zip(names, star.column("particles", labels.LOG_LIKELIHOOD), strict=True))
    asked = read_star(particles).texts("particles", labels.IMAGE_NAME)
    missing = [name for name in asked if name not in found]
    if missing:
        raise RefinementError(f"{told}: RELION has no likelihood for {missing[0]} of {particles}.")
    return np.array([found[name] for name in asked])


@dataclass(frozen=True)
class HeldOutVerdict:
    """What unseen particles say of a map.

    Attributes
    ----------
    nats : (particles,) RELION's log-likelihood of each with the map less that with an empty one, over all poses
    at_pose : ours, at the best pose that RELION found with the map
    """

    nats: FloatArray
    at_pose: HeldOutScore

    def told(self) -> dict[str, Any]:
        """Return the scores for a report; ``…_each`` for differences of two maps particle by particle."""
        count = len(self.nats)
        return {
            "held_out_particles": count,
            "held_out_nats": float(self.nats.mean()),
            "held_out_nats_standard_error": float(self.nats.std(ddof=1) / np.sqrt(count)) if count > 1 else None,
            "held_out_nats_each": [round(float(value), 4) for value in self.nats],
            "held_out_nats_at_pose": self.at_pose.nats_per_particle,
            "held_out_nats_at_best_filter": self.at_pose.nats_at_best_filter,
            "held_out_grey_scale": self.at_pose.grey_scale,
            "held_out_frc": [round(float(value), 5) for value in self.at_pose.frc],
            "held_out_mean_frc": self.at_pose.mean_frc,
        }


def judge_held_out(with_map: Alignment, with_empty: Alignment, search: HeldOutSearch) -> HeldOutVerdict:
    """Return what unseen particles say of the map that RELION aligned them with.

    The first score, RELION's, integrates over all poses, so that no map gains by a pose that noise has chosen; the
    others take the best pose, with the same noise power, see `extrecon.validate.held_out`.

    Raises
    ------
    UsageError : the two alignments are of other particles.
    MapError, StarError, InputError : a file cannot be read, or images cannot be scored.
    """
    if with_map.particles != with_empty.particles:
        raise UsageError(f"{with_map.particles} and {with_empty.particles} are not the same particles.")
    images = read_images(with_map.particles, with_map.poses)
    at_pose = score_held_out(
        read_map(with_map.reference).density,
        images,
        noise_of_model(with_empty.model, images.box),
        search.diameter_angstrom,
        search.finest_angstrom,
    )
    return HeldOutVerdict(with_map.log_likelihoods - with_empty.log_likelihoods, at_pose)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return by how many nats a particle the first map is likelier, and the standard error of that.

    Parameters
    ----------
    first, second : nats of the same particles in the same order, with one map and with another
    """
    differences = np.subtract(first, second)
    count = len(differences)
    spread = float(differences.std(ddof=1) / np.sqrt(count)) if count > 1 else math.nan
    return float(differences.mean()), spread
