"""Regularizers one after the other, as one: ``two-half+cnn``.

Each gets the density of the one before, brought onto the half-map's grey scale by one factor. What extrecon does
with the density afterwards is what the last one declares. A parameter is typed with its regularizer's name before
it, ``--set cnn.weights=…``; of one that comes twice it counts for both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from extrecon.errors import UsageError
from extrecon.maps.half_map import FloatArray, HalfMap
from extrecon.options.phases import CHAIN
from extrecon.regularizer import Context, Regularized, Regularizer, load
from extrecon.settings import parameters_of, setting


def load_chain(name: str) -> Regularizer[Any]:
    """Return the regularizer of that name, or the chain of those whose names are joined by ``+``.

    Raises
    ------
    RegularizerError : as `extrecon.regularizer.load`.
    """
    parts = name.split(CHAIN)
    return load(name) if len(parts) == 1 else Chain(parts, [load(part) for part in parts])


@dataclass(frozen=True)
class _Own:
    """One regularizer's part of the settings: its fields by their names in the settings of all."""

    field_of: dict[str, str]

    def settings(self, plugin: Regularizer[Any], of_all: Any) -> Any:
        return plugin.settings_type(**{own: getattr(of_all, field) for field, own in self.field_of.items()})


class Chain(Regularizer[Any]):
    """Several regularizers, each working on what the one before returned."""

    def __init__(self, names: Sequence[str], plugins: Sequence[Regularizer[Any]]) -> None:
        self._names, self._plugins = list(names), list(plugins)
        late = [name for name, plugin in zip(names[1:], plugins[1:], strict=True) if plugin.needs_both_halves]
        if late:
            raise UsageError(
                f"--regularizer {CHAIN.join(names)}: {late[0]} compares two half-maps as RELION made them, so it "
                "must come first."
            )
        last = self._plugins[-1]
        # What a class declares, this instance declares: it stands for classes that are chosen when it is made.
        declared = {
            "name": CHAIN.join(names),
            "version": CHAIN.join(plugin.version for plugin in plugins),
            "summary": "; then: ".join(plugin.summary for plugin in plugins),
            "treatment": last.treatment,
            "treatment_inside_refinement": last.treatment_inside_refinement,
            "uses_mask": any(plugin.uses_mask for plugin in plugins),
            "needs_both_halves": any(plugin.needs_both_halves for plugin in plugins),
        }
        vars(self).update(declared)
        self._own, vars(self)["settings_type"] = _joined_settings(self._names, self._plugins)

    def prepare(self, settings: Any) -> Sequence[Path]:
        """Prepare each."""
        return [path for plugin, own in self._each(settings) for path in plugin.prepare(own)]

    def check(self, settings: Any) -> None:
        """Check each."""
        for plugin, own in self._each(settings):
            plugin.check(own)

    def memory_bytes(self, box: int) -> int:
        """Return what the largest takes, and the density that goes from one to the next; 0 if one does not say."""
        each = [plugin.memory_bytes(box) for plugin in self._plugins]
        return 4 * box**3 + max(each) if all(each) else 0

    def card(self) -> str:
        """Return the cards of those that have one."""
        return "\n\n".join(card for plugin in self._plugins if (card := plugin.card()))

    def regularize(self, half_map: HalfMap, context: Context[Any]) -> Regularized:
        """Return the last one's density; facts, maps and warnings of all."""
        facts: dict[str, Any] = {}
        maps: dict[str, FloatArray] = {}
        warnings: list[str] = []
        given = half_map
        for name, (plugin, settings) in zip(self._names, self._each(context.settings), strict=True):
            known = replace(context, settings=settings, mask=_copy(context.mask))
            found = plugin.regularize(given.with_density(given.density.copy()), known)
            facts[name] = dict(found.facts)
            maps |= {f"{name}_{what}": values for what, values in found.maps.items()}
            warnings += [f"{name}: {text}" for text in found.warnings]
            given = half_map.with_density(_on_scale(found.density, half_map.density))
        return replace(found, facts=facts, maps=maps, warnings=warnings)

    def _each(self, settings: Any) -> list[tuple[Regularizer[Any], Any]]:
        pairs = zip(self._plugins, self._own, strict=True)
        return [(plugin, own.settings(plugin, settings)) for plugin, own in pairs]


def _joined_settings(names: Sequence[str], plugins: Sequence[Regularizer[Any]]) -> tuple[list[_Own], type]:
    """Return each one's part of the settings of all, and the dataclass of all."""
    fields: list[tuple[str, type, Any]] = []
    own: list[_Own] = []
    for place, (owner, plugin) in enumerate(zip(names, plugins, strict=True)):
        of_this: dict[str, str] = {}
        for parameter in parameters_of(plugin.settings_type):
            told = dataclasses.asdict(parameter)
            name, field, default, text = (told.pop(key) for key in ("name", "field", "default", "help"))
            of_all = f"of_{place}_{field}"
            of_this[of_all] = field
            declared = setting(default, text, **told, name=f"{owner}.{name}")
            fields.append((of_all, type(default), declared))
        own.append(_Own(of_this))
    return own, dataclasses.make_dataclass("ChainSettings", fields, frozen=True)


def _on_scale(density: FloatArray, half_map: FloatArray) -> FloatArray:
    """Return the density times the factor that brings it nearest to the half-map."""
    power = float(np.vdot(density, density))
    factor = float(np.vdot(density, half_map)) / power if power > 0 else 0.0
    return np.asarray(density * factor, dtype=half_map.dtype)


def _copy(mask: FloatArray | None) -> FloatArray | None:
    return None if mask is None else mask.copy()
