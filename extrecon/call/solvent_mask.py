"""RELION's solvent mask, drawn anew in each iteration of local search (`--mask-each-iteration`).

RELION reads its mask twice in an iteration: before it calls for the reconstruction, for the FSC that it corrects,
and after it, to flatten the solvent. Before the call it also writes both halves' unregularized maps. The mask is
made from these: what the particles say, under no mask and no regularizer, so that what an earlier mask left out
comes back. Both halves' calls make the same mask from the same two maps, each before it returns: whichever half
RELION flattens first, the mask is there, and neither call waits for the other.

Only a file whose name tells that it is extrecon's is replaced.
"""

from __future__ import annotations

from pathlib import Path

from extrecon.call.current import Call
from extrecon.call.decision import Decision
from extrecon.errors import MapError, UsageError
from extrecon.fourier.solvent_mask import Shape, SolventMask, mask_from_halves
from extrecon.maps import HalfMap, read_map, write_map
from extrecon.relion.names import MADE_MASK, unfiltered_half_map
from extrecon.system.json_text import text_of


def draw_solvent_mask(call: Call, decision: Decision) -> None:
    """Replace RELION's mask where that was asked for and its time has come; tell the record what was done.

    Nothing that goes wrong here concerns the map: the earlier mask stays, with a warning.
    """
    name = call.job.name
    if not call.options.flag("mask_each_iteration") or name is None or name.half is None:
        return
    if name.kind == "body":
        call.record.solvent_mask = {"left": "a body has a mask of its own"}
        return
    if not decision.regularize:
        call.record.solvent_mask = {"left": decision.reason}
        return
    try:
        with call.stage("solvent mask"):
            path = _path(call)
            halves = [_read(unfiltered_half_map(name, half), call.pixel_size_angstrom) for half in (1, 2)]
            mask = mask_from_halves(halves[0], halves[1], Shape(_diameter(call)), call.compute)
            write_map(path, halves[0].with_density(mask.density))
    except Exception as error:  # noqa: BLE001  the map matters more, and the record tells
        call.record.solvent_mask = {"left": text_of(error)}
        call.record.warnings.append(f"the solvent mask stays as it was: {text_of(error)}")
        return
    call.record.solvent_mask = {"file": str(path), **_told(mask)}


def _path(call: Call) -> Path:
    """Return the path of RELION's mask.

    Raises
    ------
    UsageError : RELION has none, or it is the user's own.
    """
    mask = call.state.solvent_mask
    if mask is None:
        raise UsageError(
            "RELION was started without --solvent_mask; `extrecon run --mask-each-iteration` gives one."
        )
    if not mask.endswith(MADE_MASK):
        raise UsageError(
            f"{mask} may be the user's own: only a mask whose name ends in {MADE_MASK} is drawn anew. "
            "Leave --solvent_mask out; `extrecon run --mask-each-iteration` gives RELION one."
        )
    return call.working_directory / mask


def _read(path: Path, pixel_size_angstrom: float | None) -> HalfMap:
    if not path.is_file():
        raise MapError(f"{path}: no such file; RELION writes it if it is started with --solvent_correct_fsc.")
    return read_map(path, pixel_size_angstrom)


def _diameter(call: Call) -> float | None:
    return call.job.particle_diameter_angstrom or call.state.particle_diameter_angstrom


def _told(mask: SolventMask) -> dict[str, float | str]:
    return {
        "volume_angstrom3": round(mask.volume_angstrom3),
        "particle_angstrom3": round(mask.core_volume_angstrom3),
        "threshold_sigmas": round(mask.threshold_sigmas, 2),
        "limited_by": mask.limited_by,
        "edge_angstrom": round(mask.edge_angstrom, 1),
    }
