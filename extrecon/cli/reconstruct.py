"""``extrecon reconstruct``: the map that RELION's accumulators hold, without regularization."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from extrecon.cli.console import (
    DeviceOption,
    OverwriteOption,
    PixelSizeOption,
    ThreadsOption,
    busy,
    console,
    refuse_to_overwrite,
)
from extrecon.errors import OutputError
from extrecon.fourier.compute import compute_for
from extrecon.maps.mrc import write_volume
from extrecon.reconstruction import reconstruct_job
from extrecon.relion.job import read_job
from extrecon.relion.search import pixel_size_of


def command(
    star: Annotated[Path, typer.Argument(metavar="FILE.star", help="…_external_reconstruct.star of RELION.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MAP.mrc", help="Where to write the map.")],
    use_map: Annotated[
        bool, typer.Option("--map/--no-map", help="Damp with the MAP term (RELION's tau2), or leave it out.")
    ] = True,
    gridding: Annotated[
        bool,
        typer.Option("--gridding/--no-gridding", help="Iterate gridding weights, or divide by the weights."),
    ] = True,
    pixel_size: PixelSizeOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Reconstruct the half-map of one external-reconstruction STAR file, as RELION would."""
    job = read_job(star, Path.cwd())
    files = [job.data_real, job.data_imag, job.weight]
    refuse_to_overwrite([output], overwrite=overwrite, inputs=[star, *files])
    if not output.parent.is_dir():
        raise OutputError(f"{output}: the folder {output.parent} does not exist.")
    if use_map and job.tau2 is None:
        console.print(f"{star} has no tau2 table: reconstructing without the MAP term.", highlight=False)
    compute = compute_for(device, threads)
    with busy("Reconstructing …"):
        values = reconstruct_job(job, use_map=use_map, iterate_gridding=gridding, compute=compute)
    known = pixel_size or pixel_size_of(job)
    write_volume(output, values, known or 0.0)
    size = f"{known:g} Å/px" if known else "pixel size unknown"
    console.print(f"{output}: {'×'.join(map(str, values.shape))}, {size}", highlight=False)
