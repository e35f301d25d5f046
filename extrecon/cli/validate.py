"""``extrecon validate``: how good a map is, in numbers and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from extrecon.cli.console import (
    JsonOption,
    OverwriteOption,
    PixelSizeOption,
    RescaleMaskOption,
    busy,
    console,
    prepare_folder,
    print_json,
    refuse_to_overwrite,
)
from extrecon.errors import UsageError
from extrecon.system.json_text import read_json_object

if TYPE_CHECKING:
    from extrecon.validate.inputs import Files


def command(
    first: Annotated[Path, typer.Argument(metavar="MAP|HALF1|JOB", help="A map, a half-map, or RELION's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    second: Annotated[Path | None, typer.Argument(metavar="HALF2", help="The second half-map.")] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="MASK.mrc", help="The particle's mask, 0 to 1; else made from the map.")
    ] = None,
    rescale_mask: RescaleMaskOption = False,
    truth: Annotated[Path | None, typer.Option(metavar="MAP.mrc", help="The true map.")] = None,
    model: Annotated[Path | None, typer.Option(metavar="PDB|CIF", help="Atoms in the map's frame.")] = None,
    true_poses: Annotated[Path | None, typer.Option(metavar="STAR", help="True poses, for a JOB.")] = None,
    local_resolution: Annotated[
        Path | None, typer.Option(metavar="RES.mrc", help="Local resolution, Å, 0 outside.")
    ] = None,
    symmetry: Annotated[
        str, typer.Option("--sym", metavar="GROUP", help="Point group of the map and of the poses.")
    ] = "C1",
    fsc_q_window: Annotated[
        float | None,
        typer.Option(metavar="Å", help="Window of FSC-Q; else 5 times the half-maps' resolution at FSC 0.5."),
    ] = None,
    fsc_q_map: Annotated[bool, typer.Option("--fsc-q-map", help="Write FSC-Q at every voxel, too.")] = False,
    fsc_3d: Annotated[
        bool, typer.Option("--fsc-3d", help="Write the half-maps' FSC at every point of Fourier space, too.")
    ] = False,
    sharpening: Annotated[
        bool,
        typer.Option("--sharpening", help="Tell how sharp the map looks beside what its signal allows (a minute)."),
    ] = False,
    unsharpened: Annotated[
        list[Path] | None,
        typer.Option(metavar="MAP.mrc", help="For --sharpening: the map before, or, given twice, its half-maps."),
    ] = None,
    pixel_size: PixelSizeOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Score a map, two half-maps, or a finished RELION refinement.

    Writes DIR/validation.json, validation.png, and validation.html, a page that needs no other file; with half-maps
    and a model also validation_fsc_q.csv, FSC-Q of each atom, and validation_fsc_q.cif, with FSC-Q for B factors.
    """
    from extrecon.validate.atom_files import MAP, write_atoms, write_fsc_q_map
    from extrecon.validate.fsc_map import FSC_MAP, write_fsc_map
    from extrecon.validate.inputs import find_files, read_inputs
    from extrecon.validate.report import table, write_report
    from extrecon.validate.scores import score_with_atoms

    if true_poses is not None and not first.is_dir():
        raise UsageError("--true-poses is for a RELION job, whose …_data.star holds the poses found.")
    files = replace(
        find_files(first, second),
        mask=mask,
        truth=truth,
        model=model,
        true_poses=true_poses,
        local_resolution=local_resolution,
        unsharpened=unsharpened or (),
    )
    wants_sharpening = sharpening or bool(unsharpened)
    of_fsc_q = {"--fsc-q-map": fsc_q_map, "--fsc-q-window": fsc_q_window is not None}
    _check(files, of_fsc_q, fsc_3d=fsc_3d, sharpening=wants_sharpening)
    written = [name for name, wanted in ((MAP, fsc_q_map), (FSC_MAP, fsc_3d)) if wanted]
    targets = [output / name for name in (*written, *_always_written(files))]
    refuse_to_overwrite(targets, overwrite=overwrite, inputs=[] if model is None else [model])
    with busy("Scoring …"):
        inputs = read_inputs(files, pixel_size, symmetry, rescale_mask=rescale_mask)
        wanted = replace(inputs, fsc_q_window_angstrom=fsc_q_window, wants_sharpening=wants_sharpening)
        scores, support = score_with_atoms(wanted)
        prepare_folder(output)
        paths = write_report(output, scores, f"Validation of {first.name}")
        if fsc_3d:
            write_fsc_map(output, wanted)
        if support is not None and model is not None:
            write_atoms(output, support, model)
            if fsc_q_map:
                write_fsc_q_map(output, support, inputs.map)
    if json:
        print_json(read_json_object(paths[0]))
    else:
        _show(table(scores), paths[-1], scores["warnings"])


def _always_written(files: Files) -> list[str]:
    from extrecon.validate.atom_files import MODEL, TABLE

    of_atoms = [TABLE, MODEL] if files.model is not None and len(files.halves) == 2 else []
    return [*(f"validation.{kind}" for kind in ("json", "png", "html")), *of_atoms]


def _check(files: Files, of_fsc_q: Mapping[str, bool], *, fsc_3d: bool, sharpening: bool) -> None:
    """Refuse before anything is read what was asked for of files that are not there."""
    has_halves = len(files.halves) == 2
    if any(of_fsc_q.values()) and not (has_halves and files.model is not None):
        raise UsageError(f"{' and '.join(of_fsc_q)} are for FSC-Q, which needs half-maps and a --model.")
    if fsc_3d and not has_halves:
        raise UsageError("--fsc-3d is of two half-maps.")
    if sharpening:
        _check_sharpening(files)


def _check_sharpening(files: Files) -> None:
    from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, load
    from extrecon.validate.sharpening import LOOK, SIGNAL

    if len(files.unsharpened) > 2:
        given = len(files.unsharpened)
        raise UsageError(f"--unsharpened was given {given} times: it is one map, or two half-maps.")
    if not files.unsharpened and len(files.halves) != 2:
        raise UsageError("--sharpening needs half-maps, or the map before sharpening: --unsharpened MAP.mrc.")
    for method in (LOOK, SIGNAL):
        load(method, LOCAL_RESOLUTION_GROUP)


def _show(rows: Iterable[Sequence[str]], page: Path, warnings: Iterable[str]) -> None:
    shown = Table("score", "value", "meaning", box=None)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    console.print(f"{page}", highlight=False)
    for warning in warnings:
        console.print(f"  [yellow]warning:[/] {warning}", highlight=False)
