"""The one mask that a comparison makes for all arms that ask for it, from a plain refinement's half-maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from extrecon.compare.arms import PLAIN, Arm
from extrecon.compare.runs import Run
from extrecon.errors import InputError, UsageError
from extrecon.fourier.solvent_mask import Shape, SolventMask, mask_from_halves, mask_from_map
from extrecon.maps.mrc import read_map, write_map
from extrecon.pictures.mask import draw_mask
from extrecon.relion.first_mask import CORRECTED_FSC, SOLVENT_MASK
from extrecon.system.files import replacing
from extrecon.validate.inputs import from_job
from extrecon.validate.mask_check import check_mask, overlap

MADE = "made_mask"
Told = dict[str, Any]


def with_made_mask(arms: Sequence[Arm], names: Sequence[str], output: Path) -> list[Arm]:
    """Return the arms; those named refine under the mask made in the comparison's folder, with the FSC corrected.

    Raises
    ------
    UsageError : no arm has one of the names, or it has a mask already.
    """
    words = (SOLVENT_MASK, str(output / f"{MADE}.mrc"), CORRECTED_FSC)
    for name in names:
        arm = next((arm for arm in arms if arm.name == name), None)
        if arm is None:
            raise UsageError(f"--make-mask '{name}': the arms are {', '.join(arm.name for arm in arms)}.")
        if SOLVENT_MASK in arm.relion:
            raise UsageError(f"--make-mask: the arm '{name}' has a {SOLVENT_MASK} of its own in --relion.")
    return [
        replace(arm, relion=(*arm.relion, *words), made_mask=True) if arm.name in names else arm for arm in arms
    ]


def mask_source(runs: Sequence[Run]) -> Run | None:
    """Return the run whose half-maps give the mask; None if no run wants one.

    Raises
    ------
    UsageError : one wants it, but no arm is RELION by itself, without options of its own.
    """
    if not any(run.arm.made_mask for run in runs):
        return None
    plain = [run for run in runs if run.arm.is_plain and not run.arm.relion]
    if not plain:
        raise UsageError(
            "--make-mask makes the mask from the half-maps of a plain refinement, and no arm is one: add --arm "
            f"{PLAIN}."
        )
    return plain[0]


def make_mask(source: Run, output: Path, name: str = MADE) -> Told:
    """Make the mask if there is none yet, and return what is told of it.

    Writes ``made_mask.mrc``, ``.json`` and ``.png``, or what else it is called. One that was made before stays,
    whatever seed it came from, so that all runs of the folder have the same.

    Raises
    ------
    InputError : the run's half-maps are gone.
    MapError : nothing rises above their noise.
    """
    paths = {kind: output / f"{name}.{kind}" for kind in ("mrc", "json", "png")}
    known = made_mask(output, source.recipe_fingerprint, name)
    if known is not None and paths["mrc"].is_file():
        return known
    halves = from_job(source.folder)[1]
    if len(halves) != 2:
        raise InputError(f"{source.folder}: the half-maps (…_unfil.mrc) are gone; remove the folder to redo them.")
    first, second = (read_map(path) for path in halves)
    diameter = source.subject.diameter_angstrom
    mask = mask_from_halves(first, second, Shape(diameter))
    check = check_mask(first, second, mask.density)
    write_map(paths["mrc"], first.with_density(mask.density))
    draw_mask(paths["png"], first.mean_with(second), mask.density, check.curves)
    truth = source.subject.truth
    true = None if truth is None else overlap(mask.density, _of_the_truth(truth, diameter, mask).density)
    overlapping = "" if true is None else f"its overlap with one drawn alike from the truth is {true:.3f} (Dice); "
    sentences = [*mask.sentences(), *check.sentences(), *([f"warning: {check.warning}"] if check.warning else [])]
    told = {
        "file": paths["mrc"].name,
        "recipe": source.recipe_fingerprint,
        "from": source.label,
        "volume_angstrom3": round(mask.volume_angstrom3),
        **({} if true is None else {"overlap_with_true_mask": round(true, 4)}),
        "largest_gap": round(check.gap, 4),
        "told": f"{paths['mrc'].name} was made from the final half-maps of {source.label}; "
        f"{overlapping}{'; '.join(sentences)}.",
    }
    with replacing(paths["json"]) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n")
    return told


def _of_the_truth(truth: Path, diameter_angstrom: float | None, like: SolventMask) -> SolventMask:
    """Return the mask that the true map gives, drawn as another one is."""
    alike = Shape(diameter_angstrom, like.low_pass_angstrom, like.extension_angstrom, like.edge_angstrom)
    return mask_from_map(read_map(truth), alike)


def made_mask(output: Path, recipe_fingerprint: str, name: str = MADE) -> Told | None:
    """Return what is told of the mask in a comparison's folder; None if there is none of this recipe."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        told: Told = dict(json.loads((output / f"{name}.json").read_text()))
        return told if told["recipe"] == recipe_fingerprint and told["told"] else None
    return None
