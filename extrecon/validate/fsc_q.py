"""FSC-Q: where a map supports its model less, or more, than the half-maps support the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import gemmi
import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from extrecon.errors import UsageError
from extrecon.fourier.compute import Compute
from extrecon.validate.fsc import last_filled_shell
from extrecon.validate.local_fsc import bands_for
from extrecon.validate.local_resolution import HALVES_THRESHOLD, local_resolutions_of_pairs, usual_window

FloatArray = npt.NDArray[np.float64]
Volume = npt.NDArray[np.floating]

MODEL_THRESHOLD = 0.67
"""Of the local FSC with the model."""
LARGE_ANGSTROM = 0.5
"""FSC-Q beyond this, either way, is counted."""


@dataclass(frozen=True)
class LocalResolutions:
    """The two local resolutions on a lattice of points.

    Attributes
    ----------
    model_angstrom : where the local FSC of the map with the model falls under 0.67, (m, m, m), axes z, y, x
    halves_angstrom : where that of the half-maps falls under 0.5, (m, m, m)
    box, pixel_size_angstrom : of the maps; the lattice's points divide the box's edge evenly, from voxel 0 on
    window_angstrom : edge of the cubic window
    """

    model_angstrom: FloatArray
    halves_angstrom: FloatArray
    box: int
    pixel_size_angstrom: float
    window_angstrom: float

    @property
    def fsc_q(self) -> FloatArray:
        """FSC-Q on the lattice, Å."""
        return self.model_angstrom - self.halves_angstrom

    @property
    def fsc_q_relative(self) -> FloatArray:
        """FSC-Q_r on the lattice: FSC-Q over the half-maps' local resolution."""
        return self.fsc_q / self.halves_angstrom

    def at(self, values: FloatArray, places_angstrom: FloatArray) -> FloatArray:
        """Return numbers of the lattice at places by trilinear interpolation; NaN outside the box.

        Parameters
        ----------
        values : (m, m, m), such as `fsc_q`
        places_angstrom : (places, 3), x, y, z, Å from the first voxel
        """
        edge = self.box * self.pixel_size_angstrom
        points = places_angstrom[:, ::-1].T * (len(values) / edge)
        found: FloatArray = map_coordinates(values, points, order=1, mode="grid-wrap")
        inside = ((places_angstrom >= 0) & (places_angstrom < edge)).all(axis=1)
        return np.where(inside, found, np.nan)

    def volume(self, values: FloatArray) -> npt.NDArray[np.float32]:
        """Return numbers of the lattice at every voxel of the box, (n, n, n)."""
        axis = np.arange(self.box) * (len(values) / self.box)
        places = np.meshgrid(axis, axis, axis, indexing="ij")
        found: npt.NDArray[np.float32] = map_coordinates(
            values.astype(np.float32), places, order=1, mode="grid-wrap", output=np.float32
        )
        return found


class Atom(NamedTuple):
    """Which atom of a model, in words that outlive gemmi's structure; the residue is as ``LEU 12``."""

    chain: str
    residue: str
    name: str
    alternative: str


@dataclass(frozen=True)
class FscQ:
    """FSC-Q of a model.

    Attributes
    ----------
    atoms : the model's non-hydrogen atoms in the file's order
    values_angstrom, relative : (atoms,) FSC-Q and FSC-Q_r, NaN for atoms outside the box
    local : the local resolutions that they are from
    """

    atoms: list[Atom]
    values_angstrom: FloatArray
    relative: FloatArray
    local: LocalResolutions

    def residues(self) -> list[tuple[str, str, float]]:
        """Return chain, residue and mean FSC-Q over its atoms (Å), in the file's order; NaN outside the box."""
        grouped: dict[tuple[str, str], list[float]] = {}
        for atom, value in zip(self.atoms, self.values_angstrom, strict=True):
            grouped.setdefault((atom.chain, atom.residue), []).append(float(value))
        return [(chain, name, float(np.mean(found))) for (chain, name), found in grouped.items()]

    def summary(self) -> dict[str, float]:
        """Return means over the atoms in the box, and the shares of them beyond ±0.5 Å."""
        values, relative = (each[np.isfinite(each)] for each in (self.values_angstrom, self.relative))
        return {
            "mean_angstrom": float(values.mean()),
            "mean_absolute_angstrom": float(np.abs(values).mean()),
            "median_angstrom": float(np.median(values)),
            "mean_relative": float(relative.mean()),
            "share_above": float((values > LARGE_ANGSTROM).mean()),
            "share_below": float((values < -LARGE_ANGSTROM).mean()),
            "share_within": float((np.abs(values) <= LARGE_ANGSTROM).mean()),
            "window_angstrom": self.local.window_angstrom,
        }


def fsc_q(
    structure: gemmi.Structure,
    model_density: Volume,
    whole: Volume,
    halves: tuple[Volume, Volume],
    mask: Volume,
    pixel_size_angstrom: float,
    window_angstrom: float | None = None,
) -> FscQ:
    """Return FSC-Q of a model's atoms: R(map–model, FSC 0.67) − R(half-maps, FSC 0.5), R a local resolution, Å.

    Ramírez-Aportela et al., Nat. Commun. 12, 42 (2021); thresholds as in the authors' Scipion protocol
    (XmippProtValFit), which runs Bsoft's ``blocres`` on the map and the model's map at 0.67 and on the half-maps at
    0.5, subtracts, and takes the mean within 0.8 Å of each atom; FSC-Q_r is FSC-Q over the half-maps' local
    resolution. Positive: the map shows less of the model than the half-maps show of each other, so it is not
    supported there; negative: more, as when a model was fitted to noise.

    A perfect model is not at 0. Where the half-maps' FSC is F, the map's with the noiseless truth is
    √(2F / (1 + F)) (Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003)), which is 0.67 at F = 0.29: its FSC-Q is
    the resolution at half-map FSC 0.29 less that at 0.5, somewhat below 0. At F = 0.5 stands 0.67 = 2F / (1 + F),
    the square.

    Parameters
    ----------
    structure : in the map's frame, its first voxel at 0
    model_density : the model's map, (n, n, n), axes z, y, x
    whole : the map that is scored
    halves : unregularized half-maps
    mask : 0 to 1; under it the resolution is told that sets the window's size
    window_angstrom : edge of the window; None for `WINDOW` times the half-maps' resolution

    Raises
    ------
    UsageError : a window that is not above 0.
    """
    if window_angstrom is not None and window_angstrom <= 0:
        raise UsageError(f"The window of the local FSC must be above 0 Å, not {window_angstrom:g}.")
    window = window_angstrom or usual_window(halves, mask, pixel_size_angstrom)
    local = local_resolutions(whole, model_density, halves, pixel_size_angstrom, window)
    sites = [site for site in structure[0].all() if not site.atom.element.is_hydrogen]
    places = np.array([site.atom.pos.tolist() for site in sites])
    values, relative = (local.at(each, places) for each in (local.fsc_q, local.fsc_q_relative))
    return FscQ([_label(site) for site in sites], values, relative, local)


def _label(site: gemmi.CRA) -> Atom:
    residue, atom = site.residue, site.atom
    return Atom(site.chain.name, f"{residue.name} {residue.seqid}", atom.name, atom.altloc.strip("\0"))


def local_resolutions(
    whole: Volume,
    model_density: Volume,
    halves: tuple[Volume, Volume],
    pixel_size_angstrom: float,
    window_angstrom: float,
    compute: Compute | None = None,
) -> LocalResolutions:
    """Return where, around each point, the local FSC with the model and that of the half-maps fall.

    The shells asked are those that all measured maps fill; see `extrecon.validate.local_resolution`.
    """
    last = min(last_filled_shell(np.asarray(each, np.float64)) for each in (whole, *halves))
    bands = bands_for(len(whole), window_angstrom / pixel_size_angstrom, last)
    maps, pairs = (whole, model_density, *halves), {(0, 1): MODEL_THRESHOLD, (2, 3): HALVES_THRESHOLD}
    model, own = local_resolutions_of_pairs(maps, pairs, bands, pixel_size_angstrom, compute)
    return LocalResolutions(model, own, len(whole), pixel_size_angstrom, bands.window_px * pixel_size_angstrom)
