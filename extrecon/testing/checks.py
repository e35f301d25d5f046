"""What every regularizer must hold to, and what one may claim besides, each as one check.

All work on the example's half-maps, box 32, and take a regularizer (or its class) and its settings as ``--set``
takes them. A regularizer is run as extrecon runs it: on copies, with random numbers of the call's own, and its
density is treated as it declares, inside refinement unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from extrecon.call.alignment import measure_shift
from extrecon.call.plugin import run_plugin
from extrecon.call.regularizing import regularize_and_treat, regularize_safely
from extrecon.call.treatment import Wishes, split_settings
from extrecon.fourier.compute import cpu
from extrecon.fourier.shells import Shells, fsc_of_maps
from extrecon.maps import HalfMap
from extrecon.maps.half_map import FloatArray
from extrecon.record import Record
from extrecon.regularizer import Context, Regularizer
from extrecon.settings import Setting, parameters_of
from extrecon.testing.examples import HalfMaps, example_half_maps, noise_half_maps

AnyRegularizer = Regularizer[Any] | type[Regularizer[Any]]
Given = Mapping[str, Setting] | None
Check = Callable[..., None]

LARGEST_SHIFT_PX = 0.1
FIRST_NOISE_SHELL = 4
"""Below it a shell of box 32 under the mask holds too few independent terms for any statement."""
_NOISE_PAIRS = 3
_SIGMAS, _SLACK, _MEAN_SLACK = 4.0, 0.05, 0.01


class CheckError(AssertionError):
    """A regularizer does not do what the check is about; the text is a sentence."""


@dataclass(frozen=True)
class _Trial:
    """A regularizer with its settings, read as those of ``--set`` are."""

    regularizer: Regularizer[Any]
    settings: Any
    wishes: Wishes

    @classmethod
    def of(cls, regularizer: AnyRegularizer, given: Given) -> _Trial:
        """Return the trial of an instance, or of a class."""
        plugin = regularizer() if isinstance(regularizer, type) else regularizer
        wishes, settings = split_settings(plugin, given or {})
        plugin.check(settings)
        return cls(plugin, settings, wishes)

    def context(self, maps: HalfMaps, *, inside: bool = True) -> Context:
        """Return what the regularizer may know of the first half-map."""
        return Context(
            self.settings,
            mask=maps.mask if self.regularizer.uses_mask else None,
            half_map_fsc=maps.fsc,
            inside_refinement=inside,
            other_half=maps.half2 if self.regularizer.needs_both_halves else None,
            compute=cpu(1),
        )

    def run(self, maps: HalfMaps, *, inside: bool = True, seed: int = 1) -> FloatArray:
        """Return the first half-map's density, regularized and treated."""
        done = regularize_and_treat(
            maps.half1,
            self.regularizer,
            self.context(maps, inside=inside),
            self.wishes,
            seed=seed,
            record=Record(input="the example's half-map"),
        )
        return done.density


def run(
    regularizer: AnyRegularizer, settings: Given = None, *, maps: HalfMaps | None = None, inside: bool = True
) -> FloatArray:
    """Return the first half-map's density as extrecon has it regularized and treated, without the safeguards.

    Parameters
    ----------
    maps : by default the example's
    inside : with the treatment for refinement, or that of `extrecon regularize`
    """
    return _Trial.of(regularizer, settings).run(maps or example_half_maps(), inside=inside)


# --- what every regularizer must hold to


def check_settings(regularizer: AnyRegularizer, settings: Given = None) -> None:
    """Check that it has name, version and summary, tells what its settings are for, and accepts their defaults."""
    plugin = _Trial.of(regularizer, settings).regularizer
    for attribute in ("name", "version", "summary"):
        _hold(bool(getattr(plugin, attribute, "")), f"{type(plugin).__name__}.{attribute} is missing or empty")
    for parameter in parameters_of(plugin.settings_type):
        _hold(bool(parameter.help), f"the setting {parameter.name} has no help text")
        _hold(
            parameter.parse(parameter.default) == parameter.default,
            f"the setting {parameter.name} does not accept its own default {parameter.default}",
        )


def check_result(regularizer: AnyRegularizer, settings: Given = None) -> None:
    """Check that its density and maps are finite, of the half-map's shape and not constant.

    Inside refinement in an even box, outside of it in an odd one.
    """
    trial, even = _Trial.of(regularizer, settings), example_half_maps()
    cut = (slice(1, None),) * 3  # keeps the centre of the particle in the centre of the box
    odd = even.with_densities(even.half1.density[cut], even.half2.density[cut], even.mask[cut])
    for maps, inside in ((even, True), (odd, False)):
        done = run_plugin(trial.regularizer, maps.half1, trial.context(maps, inside=inside), seed=1)
        wanted = maps.half1.density.shape
        for name, values in (("density", done.density), *done.maps.items()):
            array = np.asarray(values)
            _hold(array.shape == wanted, f"its {name} is of shape {array.shape}, the half-map of {wanted}")
            _hold(bool(np.isfinite(array).all()), f"its {name} has values that are NaN or infinite")
        _hold(float(np.ptp(done.density)) > 0, "its density is constant")


def check_repeats(regularizer: AnyRegularizer, settings: Given = None) -> None:
    """Check that the same call gives the same density, to the bit: random numbers are those of the call."""
    trial, maps = _Trial.of(regularizer, settings), example_half_maps()
    same = np.array_equal(trial.run(maps), trial.run(maps))
    _hold(same, "two calls with the same half-map and seed differ: take random numbers from context.random")


def check_nothing_shifts(regularizer: AnyRegularizer, settings: Given = None) -> None:
    """Check that its density lies where the half-map lies, to 0.1 px."""
    maps = example_half_maps()
    shells = Shells(maps.half1.box, cpu(1))
    ours, theirs = (shells.spectrum(d) for d in (run(regularizer, settings, maps=maps), maps.half1.density))
    shift = float(np.linalg.norm(measure_shift(ours, theirs, cpu(1))))
    _hold(shift < LARGEST_SHIFT_PX, f"its density is shifted by {shift:.2f} px, more than {LARGEST_SHIFT_PX} px")


def check_halves_stay_independent(regularizer: AnyRegularizer, settings: Given = None) -> None:
    """Check that its result depends neither on the other half-map nor on what it worked on before.

    One that declares ``needs_both_halves`` is only checked for what it keeps.
    """
    trial, maps = _Trial.of(regularizer, settings), example_half_maps()
    alone, swapped = trial.context(maps), _swapped(maps)
    first = run_plugin(trial.regularizer, maps.half1, alone, seed=1).density
    run_plugin(trial.regularizer, swapped.half1, trial.context(swapped), seed=2)
    beside = replace(alone, other_half=maps.half2)
    if np.array_equal(first, run_plugin(trial.regularizer, maps.half1, beside, seed=1).density):
        return
    again = run_plugin(trial.regularizer, maps.half1, alone, seed=1).density
    _hold(
        np.array_equal(first, again),
        "a half-map's result changed after the other half was worked on: something is kept between calls, or "
        "random numbers are not those of context.random",
    )
    _hold(False, "its result depends on context.other_half, but needs_both_halves is False")


def check_noise_gains_no_agreement(regularizer: AnyRegularizer, settings: Given = None) -> None:
    """Check that two maps of independent noise agree afterwards no better than by chance; or are refused."""
    trial = _Trial.of(regularizer, settings)
    trial.run(example_half_maps())  # whoever refuses this as well refuses everything
    found = []
    for seed in range(1, _NOISE_PAIRS + 1):
        maps = noise_half_maps(seed)
        try:
            done = [trial.run(maps, seed=1), trial.run(_swapped(maps), seed=2)]
        except Exception:  # noqa: BLE001  a regularizer refuses a map by raising whatever it likes
            continue
        found.append(fsc_of_maps(done[0], done[1], cpu(1)))
    if not found:
        return
    fsc, terms = np.mean(found, axis=0), _independent_terms(noise_half_maps().mask) * len(found)
    bound = _SIGMAS / np.sqrt(terms) + _SLACK
    fine = slice(FIRST_NOISE_SHELL, len(fsc))
    beyond = [s for s in range(len(fsc))[fine] if fsc[s] > bound[s]]
    told = ", ".join(f"{fsc[s]:.2f} in shell {s} (chance: {bound[s]:.2f})" for s in beyond[:3])
    _hold(not beyond, f"noise alone agrees afterwards, in both halves: FSC {told}")
    mean, chance = np.average(fsc[fine], weights=terms[fine]), _SIGMAS / np.sqrt(terms[fine].sum()) + _MEAN_SLACK
    _hold(
        mean < chance, f"noise alone agrees afterwards, in both halves: mean FSC {mean:.3f} (chance: {chance:.3f})"
    )


def _independent_terms(mask: FloatArray) -> npt.NDArray[np.float64]:
    """Return how many Fourier terms of each shell stay independent of each other under a mask."""
    shells = np.arange(len(mask) // 2 + 1)
    terms: npt.NDArray[np.float64] = np.maximum(2 * np.pi * shells**2 * float(np.square(mask).mean()), 1)
    return terms


def check_works_in_refinement(regularizer: AnyRegularizer, settings: Given = None) -> None:
    """Check that with the hook's scale, cut-off and safeguards RELION gets its map and not the plain one."""
    trial, maps = _Trial.of(regularizer, settings), example_half_maps()
    try:
        regularize_safely(
            maps.half1,
            trial.regularizer,
            trial.context(maps),
            trial.wishes,
            shell_scale=True,
            fsc_cutoff=True,
            seed=1,
            record=Record(input="the example's half-map"),
        )
    except Exception as error:
        raise CheckError(f"inside refinement RELION would get the plain map: {error}") from error


# --- what a regularizer may claim


def check_keeps_its_input(regularizer: AnyRegularizer, settings: Given = None) -> None:
    """Check that it leaves the arrays it was handed alone; extrecon hands out copies, a notebook may not."""
    trial, maps = _Trial.of(regularizer, settings), example_half_maps()
    before = maps.half1.density.copy(), maps.mask.copy()
    trial.regularizer.regularize(maps.half1, trial.context(maps))
    for name, array, kept in zip(("density", "mask"), (maps.half1.density, maps.mask), before, strict=True):
        _hold(np.array_equal(array, kept), f"it changed the {name} that it was handed")


def check_gray_scale(
    regularizer: AnyRegularizer, settings: Given = None, *, factor: float = 1000.0, tolerance: float = 0.01
) -> None:
    """Check that a half-map times a factor gives the result times that factor."""
    maps = example_half_maps()
    brighter = maps.with_densities(factor * maps.half1.density, factor * maps.half2.density, maps.mask)
    ours, theirs = run(regularizer, settings, maps=maps), run(regularizer, settings, maps=brighter) / factor
    _same(theirs, ours, tolerance, f"with densities {factor:g} times as large")


def check_rotations(regularizer: AnyRegularizer, settings: Given = None, *, tolerance: float = 0.02) -> None:
    """Check that a half-map turned by 90° about each axis gives the result turned."""
    maps = example_half_maps()
    ours = run(regularizer, settings, maps=maps)
    for axes in ((0, 1), (1, 2), (2, 0)):
        turned = run(regularizer, settings, maps=_moved(maps, partial(_turned, axes=axes)))
        _same(turned, _turned(ours, axes), tolerance, f"turned by 90° in the plane of axes {axes}")


def check_translations(
    regularizer: AnyRegularizer, settings: Given = None, *, by: int = 1, tolerance: float = 0.02
) -> None:
    """Check that a half-map shifted by whole voxels gives the result shifted, inside the mask."""
    maps = example_half_maps()
    ours = run(regularizer, settings, maps=maps)
    for axis in range(3):
        moved = run(regularizer, settings, maps=_moved(maps, partial(np.roll, shift=by, axis=axis)))
        there = np.roll(moved, -by, axis)
        _same(there * maps.mask, ours * maps.mask, tolerance, f"shifted by {by} px along axis {axis}")


def check_is_linear(regularizer: AnyRegularizer, settings: Given = None, *, tolerance: float = 1e-3) -> None:
    """Check that the sum of two half-maps gives the sum of their results, under one and the same FSC."""
    trial, maps = _Trial.of(regularizer, settings), example_half_maps()
    context = trial.context(maps)

    def result(half_map: HalfMap) -> FloatArray:
        return run_plugin(trial.regularizer, half_map, context, seed=1).density

    both = maps.half1.with_density(np.asarray(maps.half1.density + maps.half2.density))
    _same(result(both), result(maps.half1) + result(maps.half2), tolerance, "of the sum of two half-maps")


CHECKS: tuple[Check, ...] = (
    check_settings,
    check_result,
    check_repeats,
    check_nothing_shifts,
    check_halves_stay_independent,
    check_noise_gains_no_agreement,
    check_works_in_refinement,
)
"""What every regularizer must hold to. The others are for those that claim it."""


def _swapped(maps: HalfMaps) -> HalfMaps:
    return maps.with_densities(maps.half2.density, maps.half1.density, maps.mask)


def _moved(maps: HalfMaps, move: Callable[[FloatArray], FloatArray]) -> HalfMaps:
    return maps.with_densities(move(maps.half1.density), move(maps.half2.density), move(maps.mask))


def _turned(array: FloatArray, axes: tuple[int, int]) -> FloatArray:
    """Return a map turned by 90° about the voxel n // 2, where the centre of a map lies."""
    turned = np.rot90(array, axes=axes)
    return np.ascontiguousarray(turned if len(array) % 2 else np.roll(turned, 1, axes[0]))


def _same(found: FloatArray, wanted: FloatArray, tolerance: float, when: str) -> None:
    difference = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    _hold(
        difference <= tolerance,
        f"the result {when} is off by {difference:.2g} (relative L2; allowed: {tolerance:g})",
    )


def _hold(holds: bool, told: str) -> None:
    if not holds:
        raise CheckError(f"{told}.")
