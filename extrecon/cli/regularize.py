"""``extrecon regularize``: apply a regularizer to a map, or to each of two half-maps by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.markup import escape

from extrecon.call.choice import Choice, choose
from extrecon.call.masks import MASK_MADE, find_mask
from extrecon.call.other_half import WHOLE_MAP
from extrecon.call.publishing import write_plugin_maps
from extrecon.call.randomness import seed_of
from extrecon.call.regularizing import regularize_safely
from extrecon.cli.console import (
    DeviceOption,
    OverwriteOption,
    PixelSizeOption,
    RescaleMaskOption,
    SetOption,
    ThreadsOption,
    console,
    prepare_folder,
    progress_bar,
    refuse_to_overwrite,
    regularizer_names,
    settings_from,
)
from extrecon.errors import ExtreconError, MapError, RegularizerError, UsageError
from extrecon.fourier.compute import Compute, compute_for
from extrecon.fourier.masks import particle_mask
from extrecon.fourier.shells import fsc_of_maps
from extrecon.maps import HalfMap, read_map, write_map
from extrecon.maps.agreement import check_halves
from extrecon.maps.mrc import read_companion
from extrecon.record import Record, record_path
from extrecon.regularizer import (
    LOCAL_RESOLUTION_GROUP,
    Context,
    Regularized,
    Regularizer,
    load,
    missing_packages,
)
from extrecon.relion.search import SearchState
from extrecon.settings import as_typed


@dataclass(frozen=True)
class _Work:
    """What both half-maps share."""

    choice: Choice
    mask: Path | None
    rescale_mask: bool
    trust_headers: bool
    local_resolution: Path | None
    fsc: npt.NDArray[np.float64] | None
    shell_scale: bool
    fsc_cutoff: bool
    compute: Compute
    pictures: bool
    check_sharpening: bool
    notes: tuple[str, ...]

    @property
    def regularizer(self) -> Regularizer:
        """The regularizer that was chosen."""
        return self.choice.regularizer


def command(
    first: Annotated[Path, typer.Argument(metavar="MAP_OR_HALF1.mrc", help="A map, or the first half-map.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    regularizer: Annotated[
        str,
        typer.Option(metavar="NAME", help="`extrecon regularizers` lists them.", autocompletion=regularizer_names),
    ],
    second: Annotated[Path | None, typer.Argument(metavar="HALF2.mrc", help="The second half-map.")] = None,
    set_: SetOption = None,
    mask: Annotated[Path | None, typer.Option(metavar="MASK.mrc", help="The particle's mask, 0 to 1.")] = None,
    rescale_mask: RescaleMaskOption = False,
    local_resolution: Annotated[
        Path | None, typer.Option("--local-resolution", metavar="RES.mrc", help="Local resolution, Å.")
    ] = None,
    pixel_size: PixelSizeOption = None,
    shell_scale: Annotated[
        bool, typer.Option("--shell-scale/--no-shell-scale", help="Scale each Fourier shell onto the input.")
    ] = False,
    fsc_cutoff: Annotated[
        bool, typer.Option("--fsc-cutoff/--no-fsc-cutoff", help="Cut where the half-map FSC falls under 1/7.")
    ] = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    overwrite: OverwriteOption = False,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw a PNG beside each result; open all in ChimeraX.")
    ] = True,
    check_sharpening: Annotated[
        bool,
        typer.Option(
            "--check-sharpening/--no-check-sharpening",
            help="Warn if the result looks finer than the input's signal allows.",
        ),
    ] = True,
) -> None:
    """Regularize a map, or two half-maps, each by itself so that they stay independent.

    Writes DIR/<input stem>_<regularizer>.mrc, with a record and a picture beside it. Sharpening is the point here,
    so the scale and cut-off that protect a refinement are off unless asked for.
    """
    inputs = _inputs(first, second)
    if fsc_cutoff and second is None:
        raise UsageError("--fsc-cutoff needs both half-maps: their FSC tells where to cut.")
    choice = choose(regularizer, settings_from(set_))
    targets = [output / f"{path.stem}_{regularizer}.mrc" for path in inputs]
    script = targets[0].with_suffix(".cxc")
    written = targets + [target.with_suffix(".png") for target in targets if pictures] + [script] * pictures
    others = [path for path in (mask, local_resolution) if path is not None]
    refuse_to_overwrite(written, overwrite=overwrite, inputs=[*inputs, *others])
    maps = [read_map(path, pixel_size) for path in inputs]
    compute = compute_for(device, threads)
    notes = check_halves(maps[0], maps[1], (str(inputs[0]), str(inputs[1]))) if len(maps) == 2 else ()
    fsc = _half_map_fsc(maps, compute)
    prepare_folder(output)
    work = _Work(
        choice=choice,
        mask=mask,
        rescale_mask=rescale_mask,
        trust_headers=pixel_size is None,
        local_resolution=local_resolution,
        fsc=fsc,
        shell_scale=shell_scale,
        fsc_cutoff=fsc_cutoff,
        compute=compute,
        pictures=pictures,
        check_sharpening=check_sharpening,
        notes=notes,
    )
    for index, (path, half_map, target) in enumerate(zip(inputs, maps, targets, strict=True)):
        other = maps[1 - index] if len(maps) > 1 else None
        _regularize_one(path, half_map, other, target, work)
    if pictures:
        _write_script(script, list(zip(inputs, targets, strict=True)))


def _write_script(script: Path, pairs: list[tuple[Path, Path]]) -> None:
    """Write what opens each input and its result in ChimeraX, at the levels that ChimeraX chooses."""
    from extrecon.pictures.chimerax import before_and_after, write_script

    for problem in write_script(script, before_and_after(pairs), ["Open this file in a fresh ChimeraX."]):
        console.print(f"  [yellow]warning:[/] {escape(problem)}", highlight=False)


def _inputs(first: Path, second: Path | None) -> list[Path]:
    """Return the half-maps' paths; refuse two that are one, or whose results would be."""
    if second is None:
        return [first]
    if first.resolve() == second.resolve():
        raise UsageError(f"{first} was given as both half-maps.")
    if first.stem == second.stem:
        raise UsageError(f"Both half-maps are named {first.stem}: their results would have one name.")
    return [first, second]


def _half_map_fsc(maps: list[HalfMap], compute: Compute) -> npt.NDArray[np.float64] | None:
    """Return the FSC of two half-maps; None for one map."""
    if len(maps) < 2:
        return None
    first, second = maps
    return fsc_of_maps(first.density, second.density, compute)


def _regularize_one(path: Path, half_map: HalfMap, other: HalfMap | None, target: Path, work: _Work) -> None:
    record = Record(input=str(path), outcome="regularized", reason="asked for on the command line")
    record.box, record.pixel_size_angstrom = half_map.box, half_map.pixel_size_angstrom
    record.device = work.compute.name
    record.warnings += [*half_map.notes, *work.notes]
    name = work.regularizer.name
    record.regularizer = work.choice.described()
    if work.regularizer.needs_both_halves and other is not None:
        record.other_half = {"crossed": WHOLE_MAP}
    mask_values = _mask(half_map, record, work)
    resolution = _local_resolution(path, half_map, work)
    record.warnings += resolution.notes if resolution is not None else ()
    with progress_bar() as progress:
        context = Context(
            settings=work.choice.settings,
            mask=mask_values,
            mask_is_made=record.mask == MASK_MADE,
            local_resolution=None if resolution is None else resolution.density,
            half_map_fsc=work.fsc,
            other_half=other if work.regularizer.needs_both_halves else None,
            compute=work.compute,
            progress=progress,
        )
        outcome = _regularize(path, half_map, context, record, work)
    write_map(target, half_map.with_density(outcome.density))
    names, warnings = write_plugin_maps(
        target.with_suffix(""), outcome.maps, lambda path, values: write_map(path, half_map.with_density(values))
    )
    record.maps += names
    record.warnings += warnings
    if work.check_sharpening:
        with record.stage("sharpening"):
            _check_sharpening(half_map, other, outcome, context, record)
    if work.pictures:
        _draw(target, half_map, outcome, resolution, work)
    record.write(record_path(target.with_suffix("")))
    told = [f"{name}, {sum(record.seconds.values()):.1f} s", *record.maps, *_sharpness(record)]
    console.print(f"{target}: {'; '.join(told)}", highlight=False)
    for warning in record.warnings:
        console.print(f"  [yellow]warning:[/] {warning}", highlight=False)


def _mask(half_map: HalfMap, record: Record, work: _Work) -> npt.NDArray[np.float32] | None:
    """Return the mask, given or made, if the regularizer uses one; tell the record which."""
    if not work.regularizer.uses_mask:
        if work.mask:
            record.warnings.append(f"{work.regularizer.name} uses no mask: {work.mask} was not read")
        return None
    found, record.mask = find_mask(
        str(work.mask or ""),
        half_map,
        SearchState(),
        Path.cwd(),
        warn=record.warnings.append,
        rescale=work.rescale_mask,
        trust_header=work.trust_headers,
    )
    return found


def _local_resolution(path: Path, half_map: HalfMap, work: _Work) -> HalfMap | None:
    """Return the local resolution that was given, if one was; on the map's grid."""
    if work.local_resolution is None:
        return None
    found = read_companion(
        work.local_resolution, half_map.pixel_size_angstrom, str(path), trust_header=work.trust_headers
    )
    if found.box != half_map.box:
        raise MapError(f"{work.local_resolution} is {found.box}³ voxels, but {path} is {half_map.box}³.")
    return found


def _regularize(path: Path, half_map: HalfMap, context: Context, record: Record, work: _Work) -> Regularized:
    switches = {"shell_scale": work.shell_scale, "fsc_cutoff": work.fsc_cutoff}
    record.options = {**switches, "set": as_typed(work.choice.settings) | as_typed(work.choice.wishes)}
    try:
        return regularize_safely(
            half_map,
            work.regularizer,
            context,
            work.choice.wishes,
            shell_scale=work.shell_scale,
            fsc_cutoff=work.fsc_cutoff,
            seed=seed_of(path.name),
            record=record,
        )
    except ExtreconError:
        raise
    except Exception as error:  # a plugin refuses a map by raising whatever it likes
        raise RegularizerError(f"{work.regularizer.name} refused {path}: {error}") from error


def _check_sharpening(
    half_map: HalfMap, other: HalfMap | None, outcome: Regularized, context: Context, record: Record
) -> None:
    """Tell the record how fine input and result look beside what their signal allows; warn if that is too fine."""
    from extrecon.validate.sharpening import LOOK, judge_sharpening

    if missing_packages(load(LOOK, LOCAL_RESOLUTION_GROUP, to_work=False)):
        return
    mask = particle_mask(half_map) if context.mask is None else context.mask
    before = [half_map] if other is None else [half_map, other]
    try:
        result = half_map.with_density(outcome.density)
        found = judge_sharpening(result, before, mask, context.compute, sweep=False)
    except RegularizerError as error:
        record.sharpening = {"unknown": str(error)}
        return
    record.sharpening = found.percentiles()
    record.warnings += found.warnings()


def _sharpness(record: Record) -> list[str]:
    if "looks_angstrom" not in record.sharpening:
        return []
    looks, allowed = (record.sharpening[f"{name}_angstrom"] for name in ("looks", "signal"))
    return [f"its finest fifth looks like {looks:.1f} Å, and its signal allows {allowed:.1f} Å"]


def _draw(target: Path, half_map: HalfMap, outcome: Regularized, given: HalfMap | None, work: _Work) -> None:
    """Draw the result beside it, coloured by the local resolution that was given, or by what was found."""
    from extrecon.pictures.maps import draw_regularized, local_of

    maps = dict(outcome.maps)
    if given is not None:
        maps.setdefault("local_resolution", given.density)
    draw_regularized(
        target.with_suffix(".png"), half_map, outcome.density, local_of(maps), outcome.curves, work.compute
    )
