"""Masks of every kind: told at the first call, days before one is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest

from extrecon.call.choice import check_choice
from extrecon.errors import MapError
from extrecon.maps import HalfMap, read_map, write_map
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.maps.mrc import write_volume
from extrecon.options import resolve
from extrecon.record import Record
from tests.call.test_pipeline import options, run
from tests.jobs import BOX, PIXEL_SIZE, write_job

pytestmark = pytest.mark.usefixtures("plugins")


def soft_mask(box: int = BOX) -> np.ndarray:
    """0 at the rim, 1 in the middle, and a few values between."""
    axis = np.clip((0.45 * box - np.abs(np.arange(box) - box // 2)) / 4, 0, 1)
    mask: np.ndarray = (axis[:, None, None] * axis[:, None] * axis).astype(np.float32)
    return mask


def write_bytes(path: Path, values: np.ndarray) -> Path:
    with mrcfile.new(path) as mrc:
        mrc.set_data(values)
        mrc.voxel_size = PIXEL_SIZE
    return path


BAD_MASKS: dict[str, tuple[Any, str]] = {
    "another box": (
        lambda p: write_map(p, HalfMap(soft_mask(40), PIXEL_SIZE)),
        "40³ voxels, but the half-map is 24³",
    ),
    "another pixel size": (
        lambda p: write_map(p, HalfMap(soft_mask(), 2 * PIXEL_SIZE)),
        "mask.mrc has 6 Å/px, but the half-map has 3 Å/px",
    ),
    "a map": (lambda p: write_map(p, HalfMap(7 * soft_mask(), PIXEL_SIZE)), "runs from 0 to 7"),
    "empty": (lambda p: write_map(p, HalfMap(0 * soft_mask(), PIXEL_SIZE)), "runs from 0 to 0"),
    "bytes": (lambda p: write_bytes(p, (126 * soft_mask()).astype(np.int8)), "looks like bytes from 0 to 127"),
    "damaged": (lambda p: p.write_bytes(b"no map" * 300), "not a readable MRC file"),
}


@pytest.mark.parametrize("whose", ["--mask", "RELION's"])
@pytest.mark.parametrize("kind", list(BAD_MASKS))
def test_a_bad_mask_is_told_at_the_first_call(kind: str, whose: str, tmp_path: Path) -> None:
    write, told = BAD_MASKS[kind]
    write(tmp_path / "mask.mrc")
    files = write_job(tmp_path, order=2)
    record, said = _run_with_mask(files, whose)
    assert record.outcome == "plain"
    assert told in " ".join(said)
    assert "cannot be used when its time comes" in " ".join(said)


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize(
    ("values", "told"),
    [
        (soft_mask(), None),
        (-0.01 + 1.05 * soft_mask(), "runs from -0.01 to 1.04; it was clipped"),
        (np.ones((BOX,) * 3), "the mask leaves nothing out"),
    ],
)
def test_a_slightly_odd_mask_is_told_and_used(
    values: np.ndarray, told: str | None, order: int, tmp_path: Path
) -> None:
    write_map(tmp_path / "mask.mrc", HalfMap(values.astype(np.float32), PIXEL_SIZE))
    files = write_job(tmp_path, order=order)
    record, said = _run_with_mask(files, "--mask")
    assert [note for note in record.warnings if "mask" in note] == ([] if told is None else record.warnings[:1])
    assert told is None or told in " ".join(said)
    if order == 4:
        assert record.outcome == "regularized"
        plain = read_map(files.beside("_plain.mrc")).density
        expected = plain * np.clip(values, 0, 1)
        assert read_map(files.result).density == pytest.approx(expected, abs=2e-2 * float(plain.max()))


def _run_with_mask(files: Any, whose: str) -> tuple[Record, list[str]]:
    if whose == "--mask":
        return run(files, regularizer="masked", mask="mask.mrc", shell_scale=False, fsc_cutoff=False)
    optimiser = files.previous("optimiser")
    optimiser.write_text(optimiser.read_text().replace("None", "mask.mrc"))
    return run(files, regularizer="masked", gate_wait=0.0)


def test_a_mask_of_relions_own_that_is_not_used_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "mask.mrc").write_bytes(b"no map")
    files = write_job(tmp_path, order=2)
    optimiser = files.previous("optimiser")
    optimiser.write_text(optimiser.read_text().replace("None", "mask.mrc"))
    record, _ = run(files, regularizer="smooth")
    assert record.warnings == []


def test_before_there_is_a_job_what_can_be_told_is_told(tmp_path: Path) -> None:
    given = options(tmp_path, regularizer="masked", mask="mask.mrc")
    write_map(tmp_path / "mask.mrc", HalfMap(soft_mask(), 17.0))
    assert check_choice(given, tmp_path) == []
    write_map(tmp_path / "mask.mrc", HalfMap(7 * soft_mask(), 17.0))
    with pytest.raises(MapError, match="runs from 0 to 7"):
        check_choice(given, tmp_path)


def unsigned_as_signed(mask: np.ndarray) -> npt.NDArray[np.int8]:
    stored: npt.NDArray[np.int8] = np.rint(255 * mask).astype(np.uint8).view(np.int8)
    return stored


def imods_signed(mask: np.ndarray) -> npt.NDArray[np.int8]:
    stored: npt.NDArray[np.int8] = (np.rint(255 * mask) - 128).astype(np.int8)
    return stored


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (lambda mask: (127 * mask).astype(np.int8), "bytes from 0 to 127"),
        (lambda mask: (255 * mask).astype(np.int16), "bytes from 0 to 255"),
        (unsigned_as_signed, "unsigned bytes (0 to 255) read as signed ones"),
        (lambda mask: unsigned_as_signed(mask > 0.5), "unsigned bytes (0 to 255) read as signed ones"),
        (imods_signed, "IMOD's signed bytes"),
        (lambda mask: imods_signed(mask > 0.5), "IMOD's signed bytes"),
    ],
)
def test_masks_of_bytes_are_recognised_and_rescaled_when_told_to(stored: Any, kind: str, tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "mask.mrc", stored(soft_mask()))
    grid = MaskGrid(box=BOX, pixel_size_angstrom=PIXEL_SIZE)
    with pytest.raises(MapError, match="give --rescale-mask") as refused:
        read_mask(path, grid)
    assert kind in str(refused.value)
    found = read_mask(path, grid, rescale=True)
    binary = len(np.unique(stored(soft_mask()))) == 2
    expected = (soft_mask() > 0.5).astype(np.float32) if binary else soft_mask()
    assert found.density == pytest.approx(expected, abs=0.01)
    assert kind in " ".join(found.notes)


@pytest.mark.parametrize("values", [(soft_mask() > 0.5).astype(np.int8), soft_mask()])
def test_rescaling_leaves_a_mask_alone_that_needs_none(values: np.ndarray, tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "mask.mrc", values)
    found = read_mask(path, MaskGrid(box=BOX, pixel_size_angstrom=PIXEL_SIZE), rescale=True)
    assert np.array_equal(found.density, values)
    assert found.notes == ()


def test_the_hook_rescales_when_told_to(tmp_path: Path) -> None:
    write_bytes(tmp_path / "mask.mrc", (127 * soft_mask()).astype(np.int8))
    record, said = run(write_job(tmp_path), regularizer="masked", mask="mask.mrc", rescale_mask=True)
    assert record.outcome == "regularized"
    assert "it was rescaled from bytes from 0 to 127" in " ".join(said)
    assert resolve({}, [], {"EXTRECON_RESCALE_MASK": "yes"}, None, tmp_path).flag("rescale_mask")


def test_label_maps_are_not_taken_for_masks(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "mask.mrc", (7 * soft_mask()).astype(np.int8))
    with pytest.raises(MapError, match=r"runs from 0 to 7\.$"):
        read_mask(path, MaskGrid(), rescale=True)


def test_a_mask_without_a_pixel_size_is_taken_as_it_is(tmp_path: Path) -> None:
    write_volume(tmp_path / "mask.mrc", soft_mask(), 0.0)
    assert read_mask(tmp_path / "mask.mrc", MaskGrid(box=BOX, pixel_size_angstrom=PIXEL_SIZE)).notes == ()


@pytest.mark.parametrize("centre", [(12, 12, 12), (7, 15, 9), (17, 5, 12)])
def test_a_body_is_masked_by_its_own_mask_where_relion_reconstructs_it(
    centre: tuple[int, int, int], tmp_path: Path
) -> None:
    """RELION puts the mask's centre of mass into the middle of the box; the solvent mask is of the whole."""
    distance = np.sqrt(sum((np.indices((BOX,) * 3)[axis] - c) ** 2 for axis, c in enumerate(centre)))
    write_map(tmp_path / "whole.mrc", HalfMap(soft_mask(), PIXEL_SIZE))
    files = write_job(tmp_path, name="run_ct3_it005_half1_body002")
    optimiser = files.previous("optimiser")
    optimiser.write_text(optimiser.read_text().replace("None", "whole.mrc"))
    write_map(tmp_path / "run_body001_mask.mrc", HalfMap(soft_mask(), PIXEL_SIZE))
    body = np.clip(6.0 - distance, 0, 1).astype(np.float32)
    write_map(tmp_path / "run_body002_mask.mrc", HalfMap(body, PIXEL_SIZE))
    record, said = run(files, regularizer="masked", mask="whole.mrc", fsc_cutoff=False, shell_scale=False)
    assert record.outcome == "regularized"
    assert record.mask == f"{tmp_path}/run_body002_mask.mrc (RELION's of this body, moved to the middle)"
    assert "--mask whole.mrc was not read: a body has a mask of its own" in " ".join(said)
    moved = np.roll(body, [BOX // 2 - c for c in centre], (0, 1, 2))
    plain, masked = (read_map(path).density for path in (files.beside("_plain.mrc"), files.result))
    assert masked == pytest.approx(plain * moved, abs=1e-6)


def test_a_body_without_relions_mask_has_one_made_from_its_map(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_it005_half1_body001")
    write_map(tmp_path / "whole.mrc", HalfMap(soft_mask(), PIXEL_SIZE))
    optimiser = files.previous("optimiser")
    optimiser.write_text(optimiser.read_text().replace("None", "whole.mrc"))
    assert run(files, regularizer="masked")[0].mask == "made from the half-map"
