"""`extrecon mask` as a user types it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.errors import ExtreconError, MapError, OutputError, UsageError
from extrecon.maps import HalfMap, read_map, write_map
from tests.jobs import PIXEL_SIZE, blobs

BOX = 32


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for half in (1, 2):
        write(f"half{half}.mrc", half)
    return tmp_path


def write(name: str, seed: int, pixel_size: float = PIXEL_SIZE) -> None:
    density = blobs(BOX) + 0.05 * np.random.default_rng(seed).normal(size=(BOX,) * 3)
    write_map(Path(name), HalfMap(density.astype(np.float32), pixel_size, (1.0, 2.0, 3.0)))


def mask(*words: str) -> str:
    ran = CliRunner().invoke(app, ["mask", *words])
    if ran.exception is not None:
        raise ran.exception
    assert ran.exit_code == 0
    return " ".join(ran.output.split())


def test_two_half_maps_give_a_mask_a_picture_and_a_judgement(folder: Path) -> None:
    told = mask("half1.mrc", "half2.mrc", "-o", "mask.mrc", "--particle-diameter", "80")
    found = read_map(Path("mask.mrc"))
    assert (found.density.min(), found.density.max()) == (0.0, 1.0)
    assert found.pixel_size_angstrom == pytest.approx(PIXEL_SIZE)
    assert found.origin_angstrom == (1.0, 2.0, 3.0)  # it overlays the map in a viewer
    assert found.density[blobs(BOX) > 0.3 * blobs(BOX).max()].min() > 0.9
    volume = found.density.sum(dtype=np.float64) * PIXEL_SIZE**3
    assert f"volume {volume:.0f} Å³ ({volume / 1210:.0f} kDa of protein)" in told
    for word in ("threshold", "soft edge", "unmasked", "masked", "corrected", "phases randomised beyond"):
        assert word in told
    assert Path("mask.png").read_bytes().startswith(b"\x89PNG")


def test_one_map_gives_a_mask_without_an_fsc(folder: Path) -> None:
    told = mask("half1.mrc", "-o", "mask.mrc", "--no-pictures")
    assert "resolution" not in told
    assert read_map(Path("mask.mrc")).density.max() == 1.0
    assert not Path("mask.png").exists()


def test_a_mask_that_makes_its_own_correlation_is_warned_of(folder: Path) -> None:
    words = ("half1.mrc", "half2.mrc", "--no-pictures", "--particle-diameter", "60")
    assert "warning" not in mask(*words, "-o", "soft.mrc", "--edge", "18", "--extension", "6")
    sharp = mask(*words, "-o", "sharp.mrc", "--edge", "0.1", "--extension", "0", "--low-pass", "5")
    assert "warning: the masked FSC is up to" in sharp


def test_nothing_is_overwritten(folder: Path) -> None:
    Path("mask.png").write_text("mine")
    with pytest.raises(OutputError, match=r"mask\.png: is already there"):
        mask("half1.mrc", "-o", "mask.mrc")
    assert not Path("mask.mrc").exists()
    mask("half1.mrc", "-o", "mask.mrc", "--overwrite")
    assert Path("mask.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputError, match="is an input of this command"):
        mask("half1.mrc", "half2.mrc", "-o", "half2.mrc", "--overwrite")
    with pytest.raises(UsageError, match=r"must end in \.mrc"):
        mask("half1.mrc", "-o", "mask.map")
    with pytest.raises(OutputError, match="the folder no does not exist"):
        mask("half1.mrc", "-o", "no/mask.mrc")


@pytest.mark.parametrize(
    ("second", "error", "told"),
    [
        ("half1.mrc", UsageError, "given as both half-maps"),
        ("copy.mrc", MapError, "hold the same map"),
        ("other.mrc", MapError, "3.5 Å/px"),
    ],
)
def test_halves_that_are_none_are_refused(second: str, error: type[ExtreconError], told: str, folder: Path) -> None:
    write("copy.mrc", 1)
    write("other.mrc", 2, 3.5)
    with pytest.raises(error, match=told):
        mask("half1.mrc", second, "-o", "mask.mrc")
    assert not Path("mask.mrc").exists()
