"""``extrecon mask``: a soft solvent mask for RELION, from a map or from two half-maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrecon.cli.console import (
    DeviceOption,
    JsonOption,
    OverwriteOption,
    PixelSizeOption,
    ThreadsOption,
    busy,
    console,
    print_json,
    refuse_to_overwrite,
)
from extrecon.errors import OutputError, UsageError

if TYPE_CHECKING:
    from extrecon.fourier.solvent_mask import SolventMask
    from extrecon.maps import HalfMap
    from extrecon.validate.mask_check import MaskCheck


def command(
    first: Annotated[Path, typer.Argument(metavar="MAP_OR_HALF1.mrc", help="A map, or the first half-map.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MASK.mrc", help="Where to write the mask.")],
    second: Annotated[
        Path | None, typer.Argument(metavar="HALF2.mrc", help="The second half-map: far better.")
    ] = None,
    particle_diameter: Annotated[
        float | None, typer.Option(metavar="Å", min=1.0, help="Nothing outside this sphere is particle.")
    ] = None,
    low_pass: Annotated[
        float | None,
        typer.Option(metavar="Å", min=1.0, help="Low-pass of the map that is cut; else 10, or 15 for one map."),
    ] = None,
    extension: Annotated[
        float | None,
        typer.Option(metavar="Å", min=0.0, help="From what was found to the soft edge; else 0, or 4 for one map."),
    ] = None,
    edge: Annotated[
        float | None,
        typer.Option(metavar="Å", min=0.1, help="Width of the soft edge; else 1.25 × resolution, at least 4 px."),
    ] = None,
    pixel_size: PixelSizeOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    overwrite: OverwriteOption = False,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw a PNG beside the mask.")] = True,
    json: JsonOption = False,
) -> None:
    """Make a soft mask of the particle for RELION's --solvent_mask, and tell what it does to the FSC.

    Two half-maps tell the noise and the resolution, and the FSC under the mask with phases randomised, which should
    stay near 0: what it shows is made by the mask's edge. Give unfiltered half-maps (RELION's …_unfil.mrc). Give
    RELION --solvent_correct_fsc with the mask: without, the solvent's noise still counts in its FSC.
    """
    from extrecon.fourier.compute import compute_for
    from extrecon.fourier.solvent_mask import Shape, mask_from_halves, mask_from_map
    from extrecon.maps import read_map, write_map
    from extrecon.maps.agreement import check_halves
    from extrecon.pictures.mask import draw_mask
    from extrecon.validate.mask_check import check_mask

    if second is not None and first.resolve() == second.resolve():
        raise UsageError(f"{first} was given as both half-maps.")
    if output.suffix != ".mrc":
        raise UsageError(f"{output}: RELION knows a mask by its ending, so the name must end in .mrc.")
    inputs = [path for path in (first, second) if path is not None]
    picture = output.with_suffix(".png")
    refuse_to_overwrite([output, *([picture] if pictures else [])], overwrite=overwrite, inputs=inputs)
    if not output.parent.is_dir():
        raise OutputError(f"{output}: the folder {output.parent} does not exist.")
    half_map = read_map(first, pixel_size)
    notes, shape = [*half_map.notes], Shape(particle_diameter, low_pass, extension, edge)
    seen, check = half_map, None
    if second is None:
        mask = mask_from_map(half_map, shape)
    else:
        other = read_map(second, pixel_size)
        notes += [*other.notes, *check_halves(half_map, other, (str(first), str(second)))]
        with busy("Finding the particle …"):
            mask = mask_from_halves(half_map, other, shape, compute_for(device, threads))
            check = check_mask(half_map, other, mask.density)
        seen = half_map.mean_with(other)
    write_map(output, half_map.with_density(mask.density))
    if pictures:
        draw_mask(picture, seen, mask.density, check.curves if check is not None else None)
    notes += [check.warning] if check is not None and check.warning else []
    if json:
        print_json({"mask": str(output), **mask.numbers(), **(check.numbers() if check else {}), "warnings": notes})
    else:
        _tell(output, mask, check, half_map, picture if pictures else None, notes)


def _tell(
    path: Path,
    mask: SolventMask,
    check: MaskCheck | None,
    of: HalfMap,
    picture: Path | None,
    warnings: Sequence[str],
) -> None:
    lines = [
        f"{path}: {of.box}³ voxels, {of.pixel_size_angstrom:g} Å/px",
        *mask.sentences(),
        *(check.sentences() if check is not None else ()),
    ]
    if check is None:
        lines.append("from one map alone: no FSC to check it by, and it shrinks with the signal; give two halves")
    if picture is not None:
        lines.append(f"{picture}: slices with the outline")
    for index, line in enumerate(lines):
        console.print(line if index == 0 else f"  {line}", highlight=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"  [yellow]warning:[/] {warning}", highlight=False, soft_wrap=True)
