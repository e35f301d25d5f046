"""A plugin's own parameters: declared once, as a dataclass, and read from what the user typed.

    @dataclass(frozen=True)
    class Settings:
        power: float = setting(1.0, "Exponent of the weight.", minimum=0.0, maximum=4.0)

A field ``max_resolution`` is typed ``--set max-resolution=VALUE``; its default's type is the parameter's type.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from extrecon.errors import RegularizerError, UsageError
from extrecon.options import FALSE_WORDS, TRUE_WORDS
from extrecon.options.suggestion import did_you_mean, with_dashes

Setting = str | int | float | bool

_DECLARED = "extrecon.parameter"
_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class NoSettings:
    """The settings of a plugin that has none."""


@dataclass(frozen=True)
class Parameter:
    """One parameter as the user sees it.

    Attributes
    ----------
    name : as typed in ``--set NAME=VALUE``
    field : as the plugin reads it
    default : its type is the parameter's type (bool, int, float or str)
    help : one sentence
    unit : for instance "Å"; empty for a pure number or a word
    choices : the words allowed; empty if any value of the type is
    minimum, maximum : inclusive bounds of a number; None for no bound
    """

    name: str
    field: str
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
            hint = did_you_mean(str(text), self.choices)
            raise UsageError(f"--set {self.name}={text}: choose one of {', '.join(self.choices)}.{hint}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self._check_bounds(value)
        return value

    def _check_bounds(self, value: float) -> None:
        if not math.isfinite(value):
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


def setting(
    default: Setting,
    help: str,
    *,
    unit: str = "",
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    name: str = "",
) -> Any:
    """Declare a field of a settings dataclass as a parameter.

    Parameters
    ----------
    default, help, unit, choices, minimum, maximum : see `Parameter`
    name : as typed by the user; by default the field's with ``-`` for ``_``
    """
    told = {"help": help, "unit": unit, "choices": choices, "minimum": minimum, "maximum": maximum, "name": name}
    return dataclasses.field(default=default, metadata={_DECLARED: told})


def parameters_of(settings_type: type) -> tuple[Parameter, ...]:
    """Return what a settings dataclass declares, in order.

    Raises
    ------
    RegularizerError : it is no dataclass, or a field was not declared with `setting`.
    """
    if not dataclasses.is_dataclass(settings_type):
        raise RegularizerError(f"{settings_type!r} declares no settings: it must be a dataclass.")
    found = []
    for field in dataclasses.fields(settings_type):
        if _DECLARED not in field.metadata:
            raise RegularizerError(
                f"{settings_type.__name__}.{field.name}: declare it with extrecon.settings.setting."
            )
        declared = dict(field.metadata[_DECLARED])
        name = declared.pop("name") or field.name.replace("_", "-")
        default: Any = field.default
        found.append(Parameter(name, field.name, default, **declared))
    return tuple(found)


def read_settings(settings_type: type[_Settings], given: Mapping[str, Setting], owner: str) -> _Settings:
    """Return the settings: ``given`` where given, by the names that users type, else the defaults.

    Raises
    ------
    UsageError : a name that ``owner`` does not know, or a value out of its range.
    RegularizerError : as `parameters_of`.
    """
    parameters = parameters_of(settings_type)
    given = with_dashes(given, [p.name for p in parameters])
    refuse_unknown(given, parameters, owner)
    return settings_type(**{p.field: p.parse(given[p.name]) for p in parameters if p.name in given})


def refuse_unknown(given: Mapping[str, Setting], parameters: Sequence[Parameter], owner: str) -> None:
    """Raise UsageError for a name that is none of the parameters'."""
    known = [p.name for p in parameters]
    unknown = sorted(set(given) - set(known))
    if unknown:
        hint = did_you_mean(unknown[0], known)
        raise UsageError(f"{owner} has no parameter '{unknown[0]}'.{hint} It has: {', '.join(known) or 'none'}.")


def as_typed(settings: object) -> dict[str, Setting]:
    """Return settings by the names that users type, for the record."""
    return {p.name: getattr(settings, p.field) for p in parameters_of(type(settings))}
