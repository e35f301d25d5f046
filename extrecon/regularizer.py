"""The interface a regularizer implements, and how one is found.

A regularizer is a class with a name, a version and one method. It is found through the entry-point group
``extrecon.regularizers``; nothing in extrecon imports one by name. Local-resolution methods are found the
same way, in the group ``extrecon.local_resolution``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import Compute, cpu
from extrecon.maps.half_map import FloatArray, HalfMap
from extrecon.options.suggestion import did_you_mean
from extrecon.reconstruction import FourierData
from extrecon.settings import NoSettings
from extrecon.system.json_text import text_of
from extrecon.system.packages import missing

REGULARIZER_GROUP = "extrecon.regularizers"
LOCAL_RESOLUTION_GROUP = "extrecon.local_resolution"

SettingsT = TypeVar("SettingsT", default=Any)
"""The type of a plugin's settings."""

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the fraction done, 0 to 1."""


def no_progress(stage: str, fraction: float) -> None:
    """Take a progress report and say nothing."""


@dataclass(frozen=True)
class Treatment:
    """What extrecon does with a regularizer's density before it is checked; see `extrecon.call.treatment`.

    Attributes
    ----------
    blend : the regularizer's part of each Fourier shell, scaled onto the half-map's; the half-map is the rest.
        "all", "half", "fsc" (1 - FSC), "confidence" (all, then weighted in each voxel), or "none" for the density
        as it came
    solvent : "flatten" what lies outside the mask to its mean, or "keep" it
    beyond : what stands where the half-maps do not agree: the "regularized" map, or the "half-map", of which
        nothing is left where the solvent was flattened
    data : "consistent" to weigh the density against the half-map's Fourier data, point by point, once it has passed
        the safeguards; inside refinement only, where there are such data
    amplitudes : what tells how strong each Fourier shell should be, inside refinement: the "half-map" itself, or
        the "other-half", of which one number a shell then crosses; unless ``--amplitudes`` says otherwise
    symmetry : "average" the density over the point group that RELION refines in, as the half-map is, or "keep" it
    """

    blend: Literal["none", "all", "half", "fsc", "confidence"] = "none"
    solvent: Literal["keep", "flatten"] = "keep"
    beyond: Literal["regularized", "half-map"] = "regularized"
    data: Literal["ignored", "consistent"] = "ignored"
    amplitudes: Literal["half-map", "other-half"] = "half-map"
    symmetry: Literal["keep", "average"] = "keep"


@dataclass(frozen=True)
class Context(Generic[SettingsT]):
    """What a regularizer may know besides the half-map itself.

    Attributes
    ----------
    settings : the regularizer's own, an instance of its ``settings_type``
    mask : (n, n, n) array, 0 in the solvent and 1 in the particle, axes z, y, x; None unless ``uses_mask``
    mask_is_made : True where neither the user nor RELION gave a mask, and it was made from the half-map
    local_resolution : (n, n, n) array, Å, 0 outside; None unless the user gave one
    half_map_fsc : (n // 2 + 1,) gold-standard FSC per shell; None if unknown
    particle_diameter_angstrom : RELION's mask diameter, Å; None if unknown
    inside_refinement : True when RELION aligns against the result in its next iteration
    point_group : the half-map's, as RELION's ``--sym``; C1 outside refinement
    other_half : the other half-map; None unless ``needs_both_halves``
    data : the half-map's Fourier data, weights, tau2 and noise, read when asked for; None outside refinement
    compute : where to work: device and threads
    progress : call it with a stage's name and the fraction done
    random : random numbers of this call alone: other ones in each half and iteration, the same when a call is
        repeated. `numpy.random`, `random`, torch are seeded alike. A generator that a plugin seeds while it works
        is not, and the same numbers in both halves would make them agree where there is no signal
    """

    settings: SettingsT
    mask: FloatArray | None = None
    mask_is_made: bool = False
    local_resolution: FloatArray | None = None
    half_map_fsc: npt.NDArray[np.float64] | None = None
    particle_diameter_angstrom: float | None = None
    inside_refinement: bool = False
    point_group: str = "C1"
    other_half: HalfMap | None = None
    data: FourierData | None = None
    compute: Compute = field(default_factory=cpu)
    progress: Progress = no_progress
    random: np.random.Generator = field(default_factory=np.random.default_rng)


@dataclass(frozen=True)
class Regularized:
    """What a regularizer returns.

    Attributes
    ----------
    density : (n, n, n) float array, axes z, y, x, on the half-map's grid; in any unit where ``treatment`` blends
    facts : what the record should say about the work (numbers, words, lists of them)
    maps : further maps worth keeping, by name, each (n, n, n); written beside the result. One named
        ``local_resolution`` (Å), ``local_b`` (Å²) or ``confidence`` colours the picture; it is 0 where unknown
    warnings : sentences the user should read
    curves : (2, m) arrays of spatial frequency, 1/Å, and amplitude, by name; drawn in one plot
    expected_error : (n, n, n) expected absolute error of ``density``, in its unit; written as ``confidence``
    mask : (n, n, n) array, 0 in the solvent and 1 in the particle, soft between: where to flatten the solvent. By
        default ``context.mask``, or else a mask made from ``density``
    half_map_fsc : (n // 2 + 1,) array: the FSC it took where ``context.half_map_fsc`` is unknown
    """

    density: FloatArray
    facts: Mapping[str, Any] = field(default_factory=dict)
    maps: Mapping[str, FloatArray] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    curves: Mapping[str, FloatArray] = field(default_factory=dict)
    expected_error: FloatArray | None = None
    mask: FloatArray | None = None
    half_map_fsc: npt.NDArray[np.float64] | None = None

    def confidence(self) -> npt.NDArray[np.float32] | None:
        """Return ρ² / (ρ² + ε²) of density ρ and expected error ε: 0 for none, 1 for full trust; None without ε."""
        if self.expected_error is None:
            return None
        square, error = np.square(self.density), np.square(self.expected_error)
        found: npt.NDArray[np.float32] = (square / np.maximum(square + error, 1e-12)).astype(np.float32)
        return found


class Regularizer(ABC, Generic[SettingsT]):
    """Base of all regularizers: one half-map in, one half-map out.

    What a regularizer is handed are copies of its own: it may work in place. Raise any exception to refuse a map:
    the pipeline then does what ``--on-error`` says. It returns its best density; blending with the half-map and the
    solvent are extrecon's part, and ``--set blend=…``, ``--set solvent=…`` work for every regularizer.

    Attributes
    ----------
    name, version, summary : for people and the record
    settings_type : a frozen dataclass whose fields are declared with `extrecon.settings.setting`
    treatment, treatment_inside_refinement : what is done with the density unless the user says otherwise
    uses_mask : a mask is found, or made, for ``context.mask``
    needs_both_halves : ``context.other_half`` is given; the half-maps are then no longer independent
    needs_packages : packages as they are imported, and what to give pip for each, that may be missing where the
        plugin is installed; it must be importable without them
    """

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    settings_type: ClassVar[type[Any]] = NoSettings
    treatment: ClassVar[Treatment] = Treatment()
    treatment_inside_refinement: ClassVar[Treatment] = Treatment()
    uses_mask: ClassVar[bool] = False
    needs_both_halves: ClassVar[bool] = False
    needs_packages: ClassVar[Mapping[str, str]] = {}

    def prepare(self, settings: SettingsT) -> Sequence[Path]:  # noqa: ARG002 - plugins need not
        """Load what every call with these settings needs, such as weights, before there is a map to work on.

        The daemon calls it ahead of time and forks the instance for each job; elsewhere it is not called at all.
        It must not compute, start threads, or touch a GPU: a forked process can use none of them.

        Returns
        -------
        The files that were read: when one of them changes, the daemon starts afresh.
        """
        return ()

    def check(self, settings: SettingsT) -> None:
        """Refuse settings that cannot work, such as a file that is not there, before there is a map to work on.

        Raises
        ------
        RegularizerError : what is wrong and what to do.
        """

    @abstractmethod
    def regularize(self, half_map: HalfMap, context: Context[SettingsT]) -> Regularized:
        """Return the regularized density of ``half_map``, and what is worth telling about it."""

    def memory_bytes(self, box: int) -> int:  # noqa: ARG002 - plugins need not say
        """Return about how much memory `regularize` takes at its peak, bytes; 0 if unknown.

        For a map of box³ voxels, what it is handed among it, Python and NumPy not. Both halves work at once if
        there is room for both, one after the other if not; too little for one, and RELION gets the plain map.
        """
        return 0

    def card(self) -> str:
        """Return what users should know of trained weights: data, scores, where they fail; Markdown."""
        return ""


@dataclass(frozen=True)
class LocalResolution:
    """A local-resolution estimate.

    Attributes
    ----------
    resolution_angstrom : (n, n, n) array, Å, 0 where there is none; axes z, y, x
    facts, maps, warnings : as in `Regularized`
    """

    resolution_angstrom: FloatArray
    facts: Mapping[str, Any] = field(default_factory=dict)
    maps: Mapping[str, FloatArray] = field(default_factory=dict)
    warnings: Sequence[str] = ()


class LocalResolutionMethod(ABC, Generic[SettingsT]):
    """Base of all local-resolution methods; the attributes are those of `Regularizer`."""

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    settings_type: ClassVar[type[Any]] = NoSettings
    needs_packages: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def estimate(self, half_map: HalfMap, context: Context[SettingsT]) -> LocalResolution:
        """Return the local resolution of ``half_map``, or of the mean of it and ``context.other_half``."""


def available(group: str = REGULARIZER_GROUP) -> dict[str, EntryPoint]:
    """Return the installed plugins of a group by name."""
    return {e.name: e for e in sorted(entry_points(group=group), key=lambda e: e.name)}


_kept: dict[tuple[str, str], Any] = {}


def keep(name: str, plugin: Any, group: str = REGULARIZER_GROUP) -> None:
    """Have `load` return this very instance from now on: it has been prepared."""
    _kept[group, name] = plugin


def missing_packages(plugin: Any) -> str:
    """Return a sentence about the packages that a plugin needs and that are not installed; empty if none is."""
    return missing(f"'{plugin.name}'", plugin.needs_packages)


def load(name: str, group: str = REGULARIZER_GROUP, *, to_work: bool = True) -> Any:
    """Return a new instance of the plugin ``name``, or the one that was kept.

    Parameters
    ----------
    to_work : else only to be described: packages that it needs for its work may be missing

    Raises
    ------
    RegularizerError : no plugin of that name is installed, it cannot be imported, or it lacks a package.
    """
    if (group, name) in _kept:
        return _kept[group, name]
    found = available(group)
    if name not in found:
        listed = ", ".join(found) or "none"
        what = "regularizer" if group == REGULARIZER_GROUP else "local-resolution method"
        raise RegularizerError(
            f"The {what} '{name}' is not installed.{did_you_mean(name, found)} Installed: {listed}."
        )
    try:
        plugin = found[name].load()()
        lacking = missing_packages(plugin) if to_work else ""
    except BaseException as error:  # a plugin may fail in any way; the user hears which one and why
        raise RegularizerError(f"'{name}' ({found[name].value}) cannot be loaded: {text_of(error)}") from error
    if lacking:
        raise RegularizerError(f"{lacking}.")
    return plugin
