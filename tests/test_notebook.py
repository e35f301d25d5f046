"""extrecon called from a script or a notebook: the same answers as from the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
from typer.testing import CliRunner

import extrecon
from extrecon.cli.main import app
from extrecon.errors import MapError, UsageError
from extrecon.fourier.masks import soft_sphere
from extrecon.maps import HalfMap, read_map, write_map

BOX, PIXEL = 32, 3.0
RELION_CALL = Path(__file__).parent / "data" / "relion-3.1.3"
Volume = npt.NDArray[np.float32]


def half(seed: int) -> Volume:
    grain = scipy.ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((BOX,) * 3), 1.2)
    noise = 0.02 * np.random.default_rng(seed).standard_normal((BOX,) * 3)
    return (soft_sphere(BOX, 9.0) * (1 + 4 * grain) + noise).astype(np.float32)


def test_a_regularizer_answers_as_on_the_command_line(tmp_path: Path) -> None:
    paths = [tmp_path / "half1.mrc", tmp_path / "half2.mrc"]
    for seed, path in enumerate(paths, 2):
        write_map(path, HalfMap(half(seed), PIXEL))
    arguments = [*map(str, paths), "-o", str(tmp_path / "out"), "--regularizer", "cnn", "--no-pictures"]
    ran = CliRunner().invoke(app, ["regularize", *arguments, "--device", "cpu", "--threads", "1"])
    assert ran.exit_code == 0
    wanted = read_map(tmp_path / "out" / "half1_cnn.mrc").density
    for given, other in ((paths[0], paths[1]), (half(2), half(3))):
        found = extrecon.regularize(given, "cnn", pixel_size=PIXEL, other_half=other, device="cpu", threads=1)
        assert np.array_equal(found.density, wanted)
        assert found.facts["treatment"]["blend"] == "all"
        assert found.facts["safeguards"]["correlation"] > 0.5
    assert "confidence" in found.maps


def test_inside_refinement_it_does_what_the_hook_does() -> None:
    fsc = np.clip(1.4 - np.arange(BOX // 2 + 1) / 8, 0, 1)
    done = extrecon.regularize(
        half(2), "localdeblur", pixel_size=PIXEL, fsc=fsc, inside_refinement=True, particle_diameter=70.0, threads=1
    )
    assert done.facts["treatment"]["solvent"] == "flattened"
    assert done.facts["safeguards"]["fsc_cutoff"] == 10
    spectrum = np.abs(np.fft.fftn(done.density))
    assert spectrum[14, 0, 0] < 1e-6 * spectrum.max()


def test_settings_go_by_the_names_that_users_type() -> None:
    done = extrecon.regularize(
        half(2), "localdeblur", pixel_size=PIXEL, mask=soft_sphere(BOX, 10.0), settings={"K": 0.02, "rounds": "2"}
    )
    assert (done.facts["K"], done.facts["rounds"]) == (pytest.approx(0.02), 2)
    with pytest.raises(UsageError, match="has no parameter 'k'"):
        extrecon.regularize(half(2), "localdeblur", pixel_size=PIXEL, settings={"k": 0.02})


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(UsageError, match="give pixel_size"):
        extrecon.regularize(half(2), "identity")
    with pytest.raises(MapError, match="other_half is 30³ voxels, but half_map is 32³"):
        extrecon.regularize(half(2), "identity", pixel_size=PIXEL, other_half=half(3)[1:-1, 1:-1, 1:-1])
    with pytest.raises(UsageError, match="17 Fourier shells"):
        extrecon.regularize(half(2), "identity", pixel_size=PIXEL, fsc=np.ones(16))


def test_it_reconstructs_as_relion_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(RELION_CALL, tmp_path / "call")
    monkeypatch.chdir(tmp_path / "call")
    star = next(Path().rglob("*_external_reconstruct.star"))
    found = extrecon.reconstruct(star, pixel_size=PIXEL)
    assert found.pixel_size_angstrom == PIXEL
    assert CliRunner().invoke(app, ["reconstruct", str(star), "-o", "map.mrc"]).exit_code == 0
    assert np.array_equal(found.density, read_map(Path("map.mrc"), PIXEL).density)


def test_only_these_names_are_offered() -> None:
    assert {"reconstruct", "regularize"} <= set(extrecon.__all__)
    with pytest.raises(AttributeError, match="no attribute 'reconstuct'"):
        extrecon.reconstuct  # noqa: B018
