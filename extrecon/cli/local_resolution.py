"""``extrecon local-resolution``: how fine the detail is at each voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from extrecon.call.masks import find_mask
from extrecon.cli.console import (
    DeviceOption,
    OverwriteOption,
    PixelSizeOption,
    RescaleMaskOption,
    SetOption,
    ThreadsOption,
    console,
    method_names,
    prepare_folder,
    progress_bar,
    refuse_to_overwrite,
    settings_from,
)
from extrecon.fourier.compute import compute_for
from extrecon.maps import HalfMap, read_map, write_map
from extrecon.maps.agreement import check_halves
from extrecon.record import Record, record_path
from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, Context, LocalResolution, LocalResolutionMethod, load
from extrecon.relion.search import SearchState
from extrecon.settings import as_typed, read_settings


def command(
    first: Annotated[Path, typer.Argument(metavar="MAP_OR_HALF1.mrc", help="A map, or the first half-map.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    mask: Annotated[Path, typer.Option(metavar="MASK.mrc", help="The particle's mask, 0 to 1.")],
    second: Annotated[
        Path | None, typer.Argument(metavar="HALF2.mrc", help="The second half-map: noise from the difference.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="`extrecon regularizers` lists them.", autocompletion=method_names)
    ] = "monores",
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw a PNG beside the map.")] = True,
    rescale_mask: RescaleMaskOption = False,
    set_: SetOption = None,
    pixel_size: PixelSizeOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Estimate the local resolution of a map, or of the mean of two half-maps.

    Writes DIR/local_resolution.mrc (Å, 0 outside), further maps of the method, a picture, and a record beside it.
    """
    plugin: LocalResolutionMethod = load(method, LOCAL_RESOLUTION_GROUP)
    settings = read_settings(plugin.settings_type, settings_from(set_), f"The method {method}")
    target = output / "local_resolution.mrc"
    inputs = [path for path in (first, second, mask) if path is not None]
    picture = target.with_suffix(".png")
    refuse_to_overwrite([target, *([picture] if pictures else [])], overwrite=overwrite, inputs=inputs)
    half_map = read_map(first, pixel_size)
    other = read_map(second, pixel_size) if second is not None else None
    notes = [*half_map.notes]
    if other is not None:
        notes += [*other.notes, *check_halves(half_map, other, (str(first), str(second)))]
    mask_values, told = find_mask(
        str(mask),
        half_map,
        SearchState(),
        Path.cwd(),
        warn=notes.append,
        rescale=rescale_mask,
        trust_header=pixel_size is None,
    )
    compute = compute_for(device, threads)
    prepare_folder(output)
    record = Record(input=str(first), outcome="measured", reason="local resolution, asked for on the command line")
    record.mask, record.device = told, compute.name
    record.box, record.pixel_size_angstrom = half_map.box, half_map.pixel_size_angstrom
    record.regularizer = {"name": method, "version": plugin.version, "settings": as_typed(settings)}
    with progress_bar() as progress, record.stage("local resolution"):
        context = Context(settings=settings, mask=mask_values, other_half=other, compute=compute, progress=progress)
        estimate = plugin.estimate(half_map, context)
    record.facts, record.warnings = dict(estimate.facts), [*notes, *estimate.warnings]
    _write(target, half_map, estimate, record)
    if pictures:
        _draw(picture, half_map if other is None else half_map.mean_with(other), estimate)


def _draw(picture: Path, shown: HalfMap, estimate: LocalResolution) -> None:
    """Draw the histogram, and the map's slices coloured by its local resolution; nothing if none is known."""
    from extrecon.pictures.maps import draw_local, local_of

    local = local_of({"local_resolution": estimate.resolution_angstrom})
    if local is not None:
        draw_local(picture, shown, local)


def _write(target: Path, half_map: HalfMap, estimate: LocalResolution, record: Record) -> None:
    """Write the maps and the record, and tell the quartiles."""
    write_map(target, half_map.with_density(estimate.resolution_angstrom))
    for name, values in estimate.maps.items():
        write_map(target.with_name(f"{name}.mrc"), half_map.with_density(values))
    record.write(record_path(target.with_suffix("")))
    inside = estimate.resolution_angstrom[estimate.resolution_angstrom > 0]
    if inside.size:
        quartiles = ", ".join(f"{q:.2f}" for q in np.percentile(inside, (25, 50, 75)))
        console.print(
            f"{target}: quartiles {quartiles} Å, {record.seconds['local resolution']:.1f} s", highlight=False
        )
    for warning in record.warnings:
        console.print(f"  [yellow]warning:[/] {warning}", highlight=False)
