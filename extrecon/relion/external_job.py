"""What RELION's job type *External* hands to a program, and what it looks for when the program has ended.

RELION appends ``--o External/job012/``, ``--in_3dref``, ``--in_mask`` and its kin for the inputs that were filled
in, the user's ten parameters as ``--label value``, and ``--j N``; where ``relion_`` occurs anywhere in these words,
``--pipeline_control`` as well. It then looks into the job's folder: an empty file tells how the job ended, and
`OUTPUT_NODES` which of its files other jobs may take.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from extrecon.relion.labels import NODE_NAME, NODE_TYPE, NODE_TYPE_LABEL
from extrecon.system.files import replacing

SUCCESS, FAILURE, ABORTED = "RELION_JOB_EXIT_SUCCESS", "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_ABORTED"
ABORT_NOW = "RELION_JOB_ABORT_NOW"
OUTPUT_NODES = "RELION_OUTPUT_NODES.star"

_HALF = re.compile(r"half(?:_?map)?_?([12])(?!\d)")


class NodeKind(NamedTuple):
    """What a file is to RELION: a number up to 3.1, a label since 4."""

    number: int
    label: str


MAP = NodeKind(6, "DensityMap.mrc")
MASK = NodeKind(7, "Mask3D.mrc")
LOCAL_RESOLUTION = NodeKind(12, "Image3D.mrc.localresmap")
LOG = NodeKind(13, "LogFile.pdf.relion")

_KINDS = {"local_resolution": LOCAL_RESOLUTION, "refined_mask": MASK}


def node_kind(path: Path, maps: Collection[str]) -> NodeKind | None:
    """Return what one of a job's files is to RELION; None for one that no other job can use.

    A regularized half-map is a map, not a half-map: the FSC of two of them is not what RELION's post-processing
    would take it for.

    Parameters
    ----------
    maps : names of the maps that the job was to make; others are a regularizer's own
    """
    for name, kind in _KINDS.items():
        if path.stem == name or path.stem.endswith(f"_{name}"):
            return kind
    return MAP if path.name in maps else None


def write_output_nodes(folder: Path, prefix: str, nodes: Mapping[str, NodeKind]) -> None:
    """Tell RELION which files the job made.

    Both columns are written: RELION 3.1 reads the number and ignores the label, later versions the reverse.

    Parameters
    ----------
    prefix : of the names: the job's folder as RELION gave it, which counts from the project's
    nodes : kind of each file by name
    """
    rows = "".join(f"{prefix}{name} {kind.number:5d} {kind.label}\n" for name, kind in nodes.items())
    labels = "".join(f"_{label} #{i} \n" for i, label in enumerate((NODE_NAME, NODE_TYPE, NODE_TYPE_LABEL), 1))
    with replacing(folder / OUTPUT_NODES) as temporary:
        temporary.write_text(f"\n# version 30001\n\ndata_output_nodes\n\nloop_ \n{labels}{rows} \n")


def forget_earlier_attempt(folder: Path) -> None:
    """Remove what an earlier run of the same job told RELION; RELION would take it for this one's."""
    for name in (SUCCESS, FAILURE, ABORTED, ABORT_NOW, OUTPUT_NODES):
        (folder / name).unlink(missing_ok=True)


def other_half_of(half_map: Path) -> Path | None:
    """Return the other half-map's path by RELION's names, or EMDB's; None if the name tells no half."""
    found = list(_HALF.finditer(half_map.name))
    if not found:
        return None
    place = found[-1].start(1)
    other = "2" if half_map.name[place] == "1" else "1"
    return half_map.with_name(half_map.name[:place] + other + half_map.name[place + 1 :])
