"""RELION's solvent mask, drawn anew from an iteration's half-maps: both calls alike, never the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrecon.call.pipeline import run_job
from extrecon.maps import HalfMap, read_map, write_map
from extrecon.options import resolve
from extrecon.record import Record
from extrecon.relion.first_mask import write_first_mask
from tests.jobs import BOX, PIXEL_SIZE, JobFiles, blobs, write_job

pytestmark = pytest.mark.usefixtures("plugins")
MASK = "run_extrecon_mask.mrc"


def refinement(folder: Path, mask: str = MASK, **job: Any) -> list[JobFiles]:
    """Write both halves' calls, their unregularized maps, and the mask that RELION began with."""
    files = [write_job(folder, name=f"run_it005_half{half}_class001", **job) for half in (1, 2)]
    optimiser = files[0].previous("optimiser")
    optimiser.write_text(optimiser.read_text().replace("SolventMaskName   None", f"SolventMaskName   {mask}"))
    for half in (1, 2):
        noise = 0.02 * np.random.default_rng(half).standard_normal((BOX,) * 3)
        unfiltered = HalfMap((blobs() + noise).astype(np.float32), PIXEL_SIZE)
        write_map(folder / f"run_it005_half{half}_class001_unfil.mrc", unfiltered)
    write_first_mask(folder / mask, BOX, PIXEL_SIZE, 60.0)
    return files


def call(files: JobFiles, **flags: Any) -> Record:
    given = {"gate_wait": 0.0, "regularizer": "smooth", "mask_each_iteration": True, **flags}
    return run_job(files.request(resolve(given, (), {}, None, files.folder)), lambda _: None)


def test_both_halves_draw_the_same_mask_around_what_both_show(tmp_path: Path) -> None:
    first, second = refinement(tmp_path)
    sphere = read_map(tmp_path / MASK).density
    record = call(first)
    drawn = read_map(tmp_path / MASK).density
    again = call(second)
    assert np.array_equal(read_map(tmp_path / MASK).density, drawn)
    assert record.outcome == again.outcome == "regularized"
    assert 0 <= drawn.min() < drawn.max() <= 1
    assert drawn.sum() < 0.7 * sphere.sum()
    strong = blobs() > 0.2 * blobs().max()
    assert drawn[strong].min() > 0.9
    assert record.solvent_mask == again.solvent_mask
    assert record.solvent_mask is not None
    assert record.solvent_mask["file"] == str(tmp_path / MASK)
    volume = drawn.sum(dtype=float) * PIXEL_SIZE**3
    assert record.solvent_mask["volume_angstrom3"] == pytest.approx(volume, rel=0.01)


def test_nothing_is_drawn_unless_it_was_asked_for_or_before_local_search(tmp_path: Path) -> None:
    first, _ = refinement(tmp_path)
    before = (tmp_path / MASK).read_bytes()
    assert call(first, mask_each_iteration=False).solvent_mask is None
    assert (tmp_path / MASK).read_bytes() == before
    other = refinement(tmp_path / "global", order=2)[0]
    before = (tmp_path / "global" / MASK).read_bytes()
    record = call(other)
    assert record.outcome == "plain"
    assert record.solvent_mask == {"left": "global search: HEALPix order 2 is below 4"}
    assert (tmp_path / "global" / MASK).read_bytes() == before


@pytest.mark.parametrize(
    ("mask", "told"),
    [("my_mask.mrc", "my_mask.mrc may be the user's own"), ("None", "RELION was started without --solvent_mask")],
)
def test_a_mask_of_the_users_own_stays(mask: str, told: str, tmp_path: Path) -> None:
    first, _ = refinement(tmp_path, mask)
    before = (tmp_path / mask).read_bytes()
    record = call(first)
    assert record.outcome == "regularized"
    assert (tmp_path / mask).read_bytes() == before
    assert any(f"the solvent mask stays as it was: {told}" in warning for warning in record.warnings)


def damage_missing(path: Path) -> None:
    path.unlink()


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def damage_noise(path: Path) -> None:
    for half in (1, 2):
        noise = np.random.default_rng(10 + half).standard_normal((BOX,) * 3)
        unfiltered = HalfMap(noise.astype(np.float32), PIXEL_SIZE)
        write_map(path.with_name(f"run_it005_half{half}_class001_unfil.mrc"), unfiltered)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_missing, "RELION writes it if it is started with --solvent_correct_fsc"),
        (damage_truncate, "run_it005_half1_class001_unfil.mrc"),
        (damage_noise, "Nothing in the half-maps rises above their noise"),
    ],
)
def test_without_usable_half_maps_the_mask_stays_and_the_map_comes(damage: Any, told: str, tmp_path: Path) -> None:
    first, _ = refinement(tmp_path)
    before = (tmp_path / MASK).read_bytes()
    damage(tmp_path / "run_it005_half1_class001_unfil.mrc")
    record = call(first)
    assert record.outcome == "regularized"
    assert (tmp_path / MASK).read_bytes() == before
    assert any(told in warning for warning in record.warnings)
