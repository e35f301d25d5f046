"""The one way in which foreign code sees a half-map, and in which its answer comes back.

A plugin works on copies: what it does to them is compared with the map as it was. It has random numbers of its own,
and the process is afterwards as it was before. Whatever it raises becomes an exception that the call can handle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from extrecon.call.randomness import own_random_numbers
from extrecon.errors import RegularizerError, SafeguardError
from extrecon.maps import HalfMap
from extrecon.maps.half_map import count_not_finite
from extrecon.regularizer import Context, Regularized, Regularizer
from extrecon.system.json_text import plain, text_of

_Answer = TypeVar("_Answer")


def run_plugin(regularizer: Regularizer, half_map: HalfMap, context: Context, seed: int) -> Regularized:
    """Have a regularizer work on copies and return what it returned, with its types made sure of.

    Parameters
    ----------
    seed : of all random numbers, see `extrecon.call.randomness`

    Raises
    ------
    SafeguardError : the density is not an array of real numbers.
    RegularizerError : it returned something else than a `Regularized`, or tried to end the program.
    Exception : whatever the regularizer raised.
    """
    mine = replace(
        context,
        mask=_copied(context.mask),
        local_resolution=_copied(context.local_resolution),
        half_map_fsc=_copied(context.half_map_fsc),
        other_half=None if context.other_half is None else _copy_of(context.other_half),
        random=np.random.default_rng(seed),
    )
    with own_random_numbers(seed, regularizer):
        returned = foreign(lambda: regularizer.regularize(_copy_of(half_map), mine))
    return _checked(returned)


def foreign(ask: Callable[[], _Answer]) -> _Answer:
    """Return what foreign code returns; afterwards folder, file mode and floating-point errors are as before.

    Raises
    ------
    RegularizerError : it raised what would end the program, such as SystemExit.
    Exception : whatever else it raised.
    """
    with _undisturbed():
        try:
            return ask()
        except Exception:
            raise
        except BaseException as error:
            told = f"{type(error).__name__}: {text_of(error) or 'no reason'}"
            raise RegularizerError(f"the regularizer tried to end the program ({told})") from error


@contextmanager
def _undisturbed() -> Iterator[None]:
    folder = None
    with suppress(OSError):  # a folder that may not be read cannot be gone back to
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mode = os.umask(0o077)
    os.umask(mode)
    errors: Any = np.geterr()
    try:
        yield
    finally:
        if folder is not None:
            with suppress(OSError):
                os.fchdir(folder)
            with suppress(OSError):
                os.close(folder)
        os.umask(mode)
        np.seterr(**errors)


def _copy_of(half_map: HalfMap) -> HalfMap:
    return half_map.with_density(half_map.density.copy())


def _copied(array: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    return None if array is None else array.copy()


def _checked(returned: object) -> Regularized:
    if not isinstance(returned, Regularized):
        raise RegularizerError(f"the regularizer returned {type(returned).__name__}, not Regularized.")
    warnings = [returned.warnings] if isinstance(returned.warnings, str) else list(returned.warnings)
    facts = plain(returned.facts)
    density = real_array(returned.density)
    return Regularized(
        density=density,
        facts=facts if isinstance(facts, dict) else {"facts": facts},
        maps=dict(returned.maps) if isinstance(returned.maps, Mapping) else {},
        warnings=[text_of(warning) for warning in warnings],
        curves=dict(returned.curves) if isinstance(returned.curves, Mapping) else {},
        expected_error=_beside(returned.expected_error, "expected_error", density),
        mask=_beside(returned.mask, "mask", density),
        half_map_fsc=_curve(returned.half_map_fsc, density),
    )


def _beside(given: object, name: str, density: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
    """Return an array that must lie voxel by voxel beside the density."""
    if given is None:
        return None
    array = real_array(given, name)
    if array.shape != density.shape or count_not_finite(array):
        raise SafeguardError(
            f"The regularizer's {name} must be finite and of its density's shape {density.shape}; it is of shape "
            f"{array.shape}."
        )
    return array


def _curve(given: object, density: npt.NDArray[np.float32]) -> npt.NDArray[np.float64] | None:
    """Return a curve over Fourier shells."""
    if given is None:
        return None
    curve, shells = np.asarray(given, dtype=np.float64), len(density) // 2 + 1
    if curve.shape != (shells,) or not np.isfinite(curve).all():
        raise SafeguardError(
            f"The regularizer's half_map_fsc must be {shells} finite numbers; it is of shape {curve.shape}."
        )
    return curve


def real_array(given: object, name: str = "density") -> npt.NDArray[np.float32]:
    """Return an array of real numbers as float32.

    Raises
    ------
    SafeguardError : it holds complex numbers, whose imaginary part would be lost, or no numbers at all.
    """
    array = np.asarray(given)
    if np.iscomplexobj(array):
        raise SafeguardError(f"The regularizer returned complex numbers; its {name} must be real.")
    if array.dtype.kind not in "fiub":
        raise SafeguardError(
            f"The regularizer returned {array.dtype} values; its {name} must be an array of numbers."
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        return array.astype(np.float32)
