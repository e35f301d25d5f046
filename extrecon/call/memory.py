"""How much memory a call will take, so that it is known before it is too late.

Peak memory of one half follows from box, padding, current size and regularizer. With it the daemon has both halves
work at once or one after the other, and a regularizer for which there is too little is not begun: RELION gets the
plain map then, and lives on, where the kernel would end the process that takes the last page.
"""

from __future__ import annotations

import os
from pathlib import Path

from extrecon.call.plugin import foreign
from extrecon.chain import load_chain
from extrecon.errors import InputError, RegularizerError
from extrecon.options.phases import read_phases
from extrecon.reconstruction import Geometry
from extrecon.reconstruction.memory import reconstruction_bytes
from extrecon.regularizer import Regularizer
from extrecon.relion import labels
from extrecon.relion.quick_star import read_values
from extrecon.system.memory import available_memory_bytes, resident_bytes

PROCESS_BYTES = 130_000_000
"""Python and what is imported, by the regularizers as well."""
OWN_BYTES_PER_VOXEL = 48
"""The safeguards, and what is done before and after them."""
UNDECLARED_BYTES_PER_VOXEL = 100
"""Of a regularizer that does not say how much it takes."""
_GB = 1e9


def plain_map_bytes(geometry: Geometry, threads: int) -> int:
    """Return the peak of a call until its plain map is written, bytes."""
    return PROCESS_BYTES + reconstruction_bytes(geometry, threads)


def regularizing_bytes(regularizer: Regularizer, box: int) -> int:
    """Return the peak of a call from then on, bytes."""
    asked = _declared(regularizer, box) or UNDECLARED_BYTES_PER_VOXEL * box**3
    return PROCESS_BYTES + 4 * box**3 + max(asked, OWN_BYTES_PER_VOXEL * box**3)


def _declared(regularizer: Regularizer, box: int) -> int:
    return int(foreign(lambda: regularizer.memory_bytes(box)))


def geometry_of(star: Path) -> Geometry | None:
    """Return the sizes that a call's STAR file tells; None if it cannot be read, which is told elsewhere."""
    try:
        values = read_values(star)
        return Geometry(
            int(values[labels.ORIGINAL_SIZE]),
            int(values[labels.CURRENT_SIZE]),
            float(values[labels.PADDING_FACTOR]),
            int(values[labels.DIMENSIONS]),
        )
    except (OSError, KeyError, ValueError, InputError):
        return None


def plain_map_bytes_of(star: Path, threads: int) -> int:
    """Return `plain_map_bytes` of a call; 0 if nothing is known of it."""
    geometry = geometry_of(star)
    return 0 if geometry is None else plain_map_bytes(geometry, threads)


def regularizing_bytes_of(star: Path, names: str) -> int:
    """Return `regularizing_bytes` of a call, the most of all regularizers that ``--regularizer`` names.

    What cannot be loaded is told elsewhere: it counts like one that declares nothing.
    """
    geometry = geometry_of(star)
    if geometry is None:
        return 0
    box = geometry.original_size
    try:
        chains = foreign(lambda: [load_chain(name) for name in read_phases(names).chains()])
        return max(regularizing_bytes(chain, box) for chain in chains)
    except Exception:  # noqa: BLE001  a plugin may raise whatever it likes
        return PROCESS_BYTES + UNDECLARED_BYTES_PER_VOXEL * box**3


def require_room(name: str, regularizer: Regularizer, box: int) -> None:
    """Make sure that there is the memory that a regularizer declares.

    Parameters
    ----------
    name : as the user chose it

    Raises
    ------
    RegularizerError : there is less.
    """
    if not _declared(regularizer, box):
        return
    short = _shortage(regularizing_bytes(regularizer, box))
    if short:
        raise RegularizerError(f"{name} takes at box {box} about {short}: it was not begun.")


def warning_of_the_plain_map(geometry: Geometry, threads: int) -> str:
    """Return a sentence if there is too little memory for a plain map: it is tried all the same; else nothing.

    RELION's own program would take six times as much.
    """
    short = _shortage(plain_map_bytes(geometry, threads))
    return f"the half-map takes about {short}: if the system ends this call, RELION ends as well" if short else ""


def _shortage(needed: int) -> str:
    """Return what is needed and what is there, where that is less; else nothing."""
    has, available = resident_bytes(os.getpid()), available_memory_bytes()
    if 0 < available < needed - has:
        return f"{needed / _GB:.1f} GB, where there are {(available + has) / _GB:.1f} GB"
    return ""
