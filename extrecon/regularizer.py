"""The interface a regularizer implements, and how one is found.

A regularizer is a class with a name, a version and one method. It is found through the entry-point group
``extrecon.regularizers``; nothing in extrecon imports one by name. Local-resolution methods are found the
same way, in the group ``extrecon.local_resolution``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from extrecon.errors import RegularizerError, UsageError
from extrecon.fourier.compute import Compute, cpu
from extrecon.maps.half_map import FloatArray, HalfMap
from extrecon.options import FALSE_WORDS, TRUE_WORDS
from extrecon.system.json_text import text_of

REGULARIZER_GROUP = "extrecon.regularizers"
LOCAL_RESOLUTION_GROUP = "extrecon.local_resolution"

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the fraction done, 0 to 1."""

Setting = str | int | float | bool


def no_progress(stage: str, fraction: float) -> None:
    """Take a progress report and say nothing."""


@dataclass(frozen=True)
class Parameter:
    """One of a regularizer's own parameters, given by ``--set NAME=VALUE``.

    Attributes
    ----------
    name : as typed by the user
    default : its type is the parameter's type (bool, int, float or str)
    help : one sentence
    unit : for instance "Å"; empty for a pure number or a word
    choices : the words allowed; empty if any value of the type is
    minimum, maximum : inclusive bounds of a number; None for no bound
    """

    name: str
    default: Setting
    help: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def parse(self, text: Setting) -> Setting:
        """Return ``text`` as this parameter's type, or raise UsageError with what is allowed."""
        try:
            value = _convert(text, type(self.default))
        except ValueError:
            kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(self.default)]
            raise UsageError(f"--set {self.name}={text}: '{text}' is not {kind}.") from None
        if self.choices and value not in self.choices:
            raise UsageError(f"--set {self.name}={text}: choose one of {', '.join(self.choices)}.")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self._check_bounds(value)
        return value

    def _check_bounds(self, value: float) -> None:
        if not np.isfinite(value):
            raise UsageError(f"--set {self.name}={value}: the value must be finite.")
        if self.minimum is not None and value < self.minimum:
            raise UsageError(f"--set {self.name}={value}: the smallest value allowed is {self.minimum}.")
        if self.maximum is not None and value > self.maximum:
            raise UsageError(f"--set {self.name}={value}: the largest value allowed is {self.maximum}.")


def _convert(text: Setting, kind: type) -> Setting:
    if kind is bool:
        word = str(text).lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            raise ValueError(text)
        return word in TRUE_WORDS
    if kind is str:
        return str(text)
    return int(str(text)) if kind is int else float(text)


@dataclass(frozen=True)
class Context:
    """What a regularizer may know besides the half-map itself.

    Attributes
    ----------
    settings : the regularizer's parameters, complete and of the right types
    mask : (n, n, n) array, 0 in the solvent and 1 in the particle, axes z, y, x; None unless ``uses_mask``
    mask_is_made : True where neither the user nor RELION gave a mask, and it was made from the half-map
    local_resolution : (n, n, n) array, Å, 0 outside; None unless the user gave one
    half_map_fsc : (n // 2 + 1,) gold-standard FSC per shell; None if unknown
    particle_diameter_angstrom : RELION's mask diameter, Å; None if unknown
    inside_refinement : True when RELION aligns against the result in its next iteration
    other_half : the other half-map; None unless ``needs_both_halves``
    compute : where to work: device and threads
    progress : call it with a stage's name and the fraction done
    random : random numbers of this call alone: other ones in each half and iteration, the same when a call is
        repeated. `numpy.random`, `random`, torch are seeded alike. A generator that a plugin seeds while it works
        is not, and the same numbers in both halves would make them agree where there is no signal
    """

    settings: Mapping[str, Setting]
    mask: FloatArray | None = None
    mask_is_made: bool = False
    local_resolution: FloatArray | None = None
    half_map_fsc: npt.NDArray[np.float64] | None = None
    particle_diameter_angstrom: float | None = None
    inside_refinement: bool = False
    other_half: HalfMap | None = None
    compute: Compute = field(default_factory=cpu)
    progress: Progress = no_progress
    random: np.random.Generator = field(default_factory=np.random.default_rng)


@dataclass(frozen=True)
class Regularized:
    """What a regularizer returns.

    Attributes
    ----------
    density : (n, n, n) float array, axes z, y, x, on the half-map's grid
    facts : what the record should say about the work (numbers, words, lists of them)
    maps : further maps worth keeping, by name, each (n, n, n); written beside the result. One named
        ``local_resolution`` (Å), ``local_b`` (Å²) or ``confidence`` colours the picture; it is 0 where unknown
    warnings : sentences the user should read
    curves : (2, m) arrays of spatial frequency, 1/Å, and amplitude, by name; drawn in one plot
    """

    density: FloatArray
    facts: Mapping[str, Any] = field(default_factory=dict)
    maps: Mapping[str, FloatArray] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    curves: Mapping[str, FloatArray] = field(default_factory=dict)


class Regularizer(ABC):
    """Base of all regularizers: one half-map in, one half-map out.

    What a regularizer is handed are copies of its own: it may work in place. Raise any exception to refuse a map:
    the pipeline then does what ``--on-error`` says.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    parameters: ClassVar[Sequence[Parameter]] = ()
    uses_mask: ClassVar[bool] = False
    needs_both_halves: ClassVar[bool] = False

    def prepare(self) -> Sequence[Path]:
        """Load what every call needs, such as weights, before there is a map to work on.

        The daemon calls it ahead of time and forks the instance for each job; elsewhere it is not called at all.
        It must not compute, start threads, or touch a GPU: a forked process can use none of them.

        Returns
        -------
        The files that were read: when one of them changes, the daemon starts afresh.
        """
        return ()

    def check(self, settings: Mapping[str, Setting]) -> None:  # noqa: B027 - plugins need not
        """Refuse settings that cannot work, such as a file that is not there, before there is a map to work on.

        Raises
        ------
        RegularizerError : what is wrong and what to do.
        """

    @abstractmethod
    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        """Return the regularized density of ``half_map``, and what is worth telling about it."""

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


class LocalResolutionMethod(ABC):
    """Base of all local-resolution methods."""

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    parameters: ClassVar[Sequence[Parameter]] = ()

    @abstractmethod
    def estimate(self, half_map: HalfMap, context: Context) -> LocalResolution:
        """Return the local resolution of ``half_map``, or of the mean of it and ``context.other_half``."""


def settings_for(parameters: Sequence[Parameter], given: Mapping[str, Setting], owner: str) -> dict[str, Setting]:
    """Return all ``parameters`` with their values: ``given`` where given, else the default.

    Raises
    ------
    UsageError : a name that ``owner`` does not know, or a value out of its range.
    """
    known = {p.name: p for p in parameters}
    unknown = sorted(set(given) - set(known))
    if unknown:
        listed = ", ".join(known) or "none"
        raise UsageError(f"{owner} has no parameter '{unknown[0]}'. It has: {listed}.")
    return {name: p.parse(given[name]) if name in given else p.default for name, p in known.items()}


def available(group: str = REGULARIZER_GROUP) -> dict[str, EntryPoint]:
    """Return the installed plugins of a group by name."""
    return {e.name: e for e in sorted(entry_points(group=group), key=lambda e: e.name)}


_kept: dict[tuple[str, str], Any] = {}


def keep(name: str, plugin: Any, group: str = REGULARIZER_GROUP) -> None:
    """Have `load` return this very instance from now on: it has been prepared."""
    _kept[group, name] = plugin


def load(name: str, group: str = REGULARIZER_GROUP) -> Any:
    """Return a new instance of the plugin ``name``, or the one that was kept.

    Raises
    ------
    RegularizerError : no plugin of that name is installed, or it cannot be imported.
    """
    if (group, name) in _kept:
        return _kept[group, name]
    found = available(group)
    if name not in found:
        listed = ", ".join(found) or "none"
        close = get_close_matches(name, found, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        what = "regularizer" if group == REGULARIZER_GROUP else "local-resolution method"
        raise RegularizerError(f"The {what} '{name}' is not installed.{hint} Installed: {listed}.")
    try:
        return found[name].load()()
    except BaseException as error:  # a plugin may fail in any way; the user hears which one and why
        raise RegularizerError(f"'{name}' ({found[name].value}) cannot be loaded: {text_of(error)}") from error
