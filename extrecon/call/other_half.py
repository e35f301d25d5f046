"""The other half's plain map within one call: for a regularizer, or for the amplitudes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from extrecon.call.amplitudes import ShellFit, fit_by_other_half
from extrecon.call.current import Call
from extrecon.call.halves import HalfExchange, exchange_folder
from extrecon.errors import ExtreconError, RegularizerError
from extrecon.maps import HalfMap, read_map
from extrecon.maps.half_map import FloatArray
from extrecon.reconstruction import map_damping_of_job
from extrecon.regularizer import Regularizer
from extrecon.system.memory import release_freed_memory

WHOLE_MAP, AMPLITUDES = "the whole map", "one number a shell"

OtherHalf = Callable[[], HalfMap]
"""Waits for the other half's plain map; raises RegularizerError where it does not come."""

FitOf = Callable[[FloatArray], ShellFit | None]
"""Tells how strong each shell of a regularized density should be; None to scale it by its own half-map."""


@contextmanager
def other_half(call: Call, half_map: HalfMap, crosses: str) -> Iterator[OtherHalf]:
    """Offer this half's plain map, and yield what waits for the other's.

    Parameters
    ----------
    crosses : what of the other half this one's result will depend on, `WHOLE_MAP` or `AMPLITUDES`, for the record

    Raises
    ------
    RegularizerError : there is no other half.
    """
    if call.state.sequential_halves:
        raise RegularizerError("RELION reconstructs the halves one after the other (--sequential_halves_recons).")
    folder, half, record = exchange_folder(call.job), 1 if call.record.half == 1 else 2, call.record
    with HalfExchange(folder, half) as exchange:
        exchange.offer(call.beside("plain"))

        def await_other() -> HalfMap:
            release_freed_memory()  # the other half may wait for it
            with call.stage("wait for the other half"), call.aside():
                path = exchange.await_other(call.options.number("half_wait"))
            other = read_map(path, half_map.pixel_size_angstrom)
            if other.box != half_map.box:
                ours, theirs = half_map.box, other.box
                raise RegularizerError(f"half{half} is {ours}³ voxels, but the other half is {theirs}³.")
            waited = record.seconds["wait for the other half"]
            record.other_half = {"waited_seconds": waited, "crossed": crosses}
            return other

        yield await_other


def is_asked_for_amplitudes(call: Call, regularizer: Regularizer) -> bool:
    """Tell whether the other half should tell how strong each shell is, by the user or else by the regularizer."""
    wanted = call.options.text("amplitudes")
    if wanted == "auto":
        wanted = regularizer.treatment_inside_refinement.amplitudes
    return call.options.flag("shell_scale") and wanted == "other-half"


def amplitudes_by(call: Call, half_map: HalfMap, other: OtherHalf) -> FitOf:
    """Return what asks the other half for the amplitudes, or leaves them to the half-map if it is silent."""

    def fit_of(density: FloatArray) -> ShellFit | None:
        try:
            theirs = other()
        except ExtreconError as error:
            call.record.warnings.append(f"amplitudes are by the half-map itself: {error}")
            return None
        with call.stage("amplitudes"):
            damping = map_damping_of_job(call.job, compute=call.compute)
            return fit_by_other_half(density, half_map.density, theirs.density, damping, call.compute)

    return fit_of
