"""``extrecon simulate``: particles of a structure or a map, with the truth beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extrecon.cli.console import (
    OverwriteOption,
    PixelSizeOption,
    console,
    prepare_folder,
    progress_bar,
    refuse_to_overwrite,
)
from extrecon.system.packages import SIMULATING, require

if TYPE_CHECKING:
    from extrecon.simulate.experiment import Plan

Range = tuple[float, float]


def command(
    source: Annotated[Path, typer.Argument(metavar="STRUCTURE|MAP", help="A PDB or mmCIF file, or an MRC map.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the data set.")],
    box: Annotated[
        int | None, typer.Option(help="Image size of a structure, px, else 64; a map has its own.")
    ] = None,
    pixel_size: PixelSizeOption = None,
    particles: Annotated[int, typer.Option(help="How many images; a HEALPix grid has its own number.")] = 1000,
    assembly: Annotated[str | None, typer.Option(metavar="NAME", help="Biological assembly to build.")] = None,
    symmetry: Annotated[
        str, typer.Option("--sym", metavar="GROUP", help="Point group, which `extrecon compare` goes by.")
    ] = "C1",
    keep_origin: Annotated[bool, typer.Option(help="Put the structure's own origin in the middle.")] = False,
    b_factor: Annotated[float, typer.Option(metavar="Å²", help="Added to the structure's B factors.")] = 0.0,
    low_pass: Annotated[float | None, typer.Option(metavar="Å", help="Remove what is finer.")] = None,
    orientations: Annotated[
        str, typer.Option(help="How directions are spread: uniform, healpix, cone or axis.")
    ] = "uniform",
    step: Annotated[float, typer.Option(metavar="DEG", help="Step of the HEALPix grid.")] = 1.5,
    tilt: Annotated[Range, typer.Option(metavar="MIN MAX", help="Tilts of a grid or cone; MAX is the axis's.")] = (
        0.0,
        180.0,
    ),
    cone_fraction: Annotated[
        float, typer.Option(help="Share of the images in the cone or axis; else uniform.")
    ] = 1.0,
    snr: Annotated[float | None, typer.Option(help="Signal's variance over the noise's; 0: noise only.")] = None,
    noise_sd: Annotated[
        float | None, typer.Option(metavar="SD", help="Standard deviation of the noise, in the projections' units.")
    ] = None,
    noise_correlation: Annotated[float, typer.Option(metavar="Å", help="Coloured noise; 0 is white.")] = 0.0,
    shift: Annotated[float, typer.Option(metavar="PX", help="Standard deviation of the shifts.")] = 0.5,
    perturb: Annotated[
        float | None, typer.Option(metavar="DEG", help="Starting angles this far off, each axis; else none.")
    ] = None,
    defocus: Annotated[
        Range | None,
        typer.Option(metavar="MIN MAX", help="Smallest and largest defocus, Å; without it there is no CTF."),
    ] = None,
    astigmatism: Annotated[float, typer.Option(metavar="Å", help="Largest difference of the two defoci.")] = 0.0,
    reference: Annotated[float, typer.Option(metavar="Å", help="Resolution of the first reference.")] = 20.0,
    moving_chain: Annotated[str | None, typer.Option(metavar="CHAIN", help="Let a chain turn about z.")] = None,
    moving_degrees: Annotated[float, typer.Option(metavar="DEG", help="… by this standard deviation.")] = 10.0,
    moving_states: Annotated[int, typer.Option(help="… in this many conformations.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of every random number.")] = 1,
    overwrite: OverwriteOption = False,
) -> None:
    """Make particles whose truth is known.

    Writes particles.star and particles.mrcs (RELION 3.1 and later), truth.mrc, true.star, reference.mrc, mask.mrc,
    structure.cif (the atoms in the map's frame) and simulation.json (how it was made). The noise's standard
    deviation is 1 in the images, as RELION wants it.
    """
    require("`extrecon simulate`", SIMULATING)
    from extrecon.simulate.experiment import Plan

    plan = Plan(
        source=source,
        box=box,
        pixel_size_angstrom=pixel_size,
        particles=particles,
        assembly=assembly,
        keep_origin=keep_origin,
        symmetry=symmetry,
        b_factor=b_factor,
        low_pass_angstrom=low_pass,
        orientations=orientations,
        step_degrees=step,
        tilt_degrees=tilt,
        cone_fraction=cone_fraction,
        signal_to_noise=snr,
        noise_sd=noise_sd,
        noise_correlation_angstrom=noise_correlation,
        shift_px=shift,
        perturb_degrees=perturb,
        defocus_angstrom=defocus,
        astigmatism_angstrom=astigmatism,
        reference_angstrom=reference,
        moving_chain=moving_chain,
        moving_degrees=moving_degrees,
        moving_states=moving_states,
        seed=seed,
    )
    _make(plan, output, overwrite=overwrite)


def _make(plan: Plan, output: Path, *, overwrite: bool) -> None:
    from extrecon.relion.symmetry import symmetry_group
    from extrecon.simulate.experiment import simulate
    from extrecon.simulate.names import FILES, MODEL

    symmetry_group(plan.symmetry)
    targets = [output / name for name in (*FILES, MODEL)]
    refuse_to_overwrite(targets, overwrite=overwrite, inputs=[plan.source])
    prepare_folder(output)
    with progress_bar() as progress:
        told: dict[str, Any] = simulate(plan, output, progress)
    console.print(
        f"{output}: {told['particles']} particles of {told['box']} px at {told['pixel_size_angstrom']:g} Å, "
        f"{told['particle_diameter_angstrom']:g} Å across",
        highlight=False,
    )
