"""``extrecon validate``: how good a map is, in numbers and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from extrecon.cli.console import OverwriteOption, PixelSizeOption, console, prepare_folder, refuse_to_overwrite
from extrecon.errors import UsageError
from extrecon.maps import HalfMap, read_map


def command(
    first: Annotated[Path, typer.Argument(metavar="MAP|HALF1|JOB", help="A map, a half-map, or RELION's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    second: Annotated[Path | None, typer.Argument(metavar="[HALF2]", help="The second half-map.")] = None,
    mask: Annotated[Path | None, typer.Option(metavar="MASK.mrc", help="0 to 1; else made from the map.")] = None,
    truth: Annotated[Path | None, typer.Option(metavar="MAP.mrc", help="The true map.")] = None,
    model: Annotated[Path | None, typer.Option(metavar="PDB|CIF", help="Atoms in the map's frame.")] = None,
    true_poses: Annotated[Path | None, typer.Option(metavar="STAR", help="True poses, for a JOB.")] = None,
    local_resolution: Annotated[Path | None, typer.Option(metavar="RES.mrc", help="Å, 0 outside.")] = None,
    symmetry: Annotated[str, typer.Option("--sym", metavar="GROUP", help="Point group of the poses.")] = "C1",
    pixel_size: PixelSizeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Score a map, two half-maps, or a finished RELION refinement.

    Writes DIR/validation.json, validation.png, and validation.html, a page that needs no other file.
    """
    from extrecon.validate.report import table, write_report
    from extrecon.validate.scores import Inputs, from_job, score

    if true_poses is not None and not first.is_dir():
        raise UsageError("--true-poses is for a RELION job, whose …_data.star holds the poses found.")
    halves = [first, second] if second is not None else []
    final, poses = first, None
    if first.is_dir():
        final, halves, poses = from_job(first)
    targets = [output / f"validation.{kind}" for kind in ("json", "png", "html")]
    refuse_to_overwrite(targets, overwrite=overwrite, inputs=[])
    read = [read_map(path, pixel_size) for path in halves if path is not None]
    pair = (read[0], read[1]) if len(read) == 2 else None
    whole = read_map(final, pixel_size) if second is None or pair is None else _mean(*pair)
    scores = score(
        Inputs(
            map=whole,
            halves=pair,
            mask=None if mask is None else read_map(mask, whole.pixel_size_angstrom).density,
            truth=None if truth is None else read_map(truth, whole.pixel_size_angstrom),
            model=model,
            poses=poses,
            true_poses=true_poses,
            local_resolution=None
            if local_resolution is None
            else read_map(local_resolution, whole.pixel_size_angstrom),
            symmetry=symmetry,
        )
    )
    prepare_folder(output)
    paths = write_report(output, scores, f"Validation of {first.name}")
    shown = Table("score", "value", "meaning", box=None)
    for row in table(scores):
        shown.add_row(*row)
    console.print(shown)
    console.print(f"{paths[-1]}", highlight=False)


def _mean(first: HalfMap, second: HalfMap) -> HalfMap:
    if first.box != second.box:
        raise UsageError(f"The half-maps differ in size: {first.box}³ and {second.box}³ voxels.")
    return first.with_density(np.asarray((first.density + second.density) / 2))
