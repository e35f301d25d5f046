"""The commands as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from extrecon.maps import HalfMap, read_map, write_map
from tests.jobs import PIXEL_SIZE, blobs, write_job

pytestmark = pytest.mark.usefixtures("plugins")

PROGRAM = str(Path(sys.executable).with_name("extrecon"))


def extrecon(*words: str | Path, folder: Path, code: int = 0) -> str:
    ran = subprocess.run(
        [PROGRAM, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return " ".join((ran.stdout + ran.stderr).split())


def write(path: Path, density: np.ndarray) -> Path:
    write_map(path, HalfMap(density.astype(np.float32), PIXEL_SIZE, (1.0, 2.0, 3.0)))
    return path


def noisy(seed: int) -> np.ndarray:
    return blobs(32) + 0.02 * np.random.default_rng(seed).normal(size=(32, 32, 32))


def test_reconstruct_writes_the_map_the_hook_would(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    told = extrecon("reconstruct", files.star.name, "-o", "map.mrc", folder=tmp_path)
    assert told == "map.mrc: 24×24×24, 3 Å/px"
    assert read_map(tmp_path / "map.mrc").density == pytest.approx(files.density, abs=0.05)
    assert not files.result.exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_made_for_a_command_that_fails_goes_again(tmp_path: Path, *, there: bool) -> None:
    write(tmp_path / "half1.mrc", noisy(1))
    if there:
        (tmp_path / "out").mkdir()
    words = ["half1.mrc", "--regularizer", "raises", "-o", "out"]
    told = extrecon("regularize", *words, folder=tmp_path, code=4)
    assert "this plugin cannot" in told
    assert (tmp_path / "out").exists() is there


def test_reconstruct_switches_change_the_map(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    files.star.write_text(files.star.read_text().replace("1.000000e+03", "1.000000e-03"))
    for name, switches in (("full", []), ("no-map", ["--no-map"]), ("plain", ["--no-map", "--no-gridding"])):
        extrecon("reconstruct", files.star.name, "-o", f"{name}.mrc", *switches, folder=tmp_path)
    power = {
        name: np.linalg.norm(read_map(tmp_path / f"{name}.mrc").density) for name in ("full", "no-map", "plain")
    }
    # w / (w + 1 / (p³ τ²)) = 100 / 225
    assert power["full"] / power["no-map"] == pytest.approx(100 / 225, rel=0.05)
    assert power["plain"] == pytest.approx(power["no-map"], rel=0.02)
    assert power["plain"] != power["no-map"]


def test_reconstruct_finds_the_pixel_size_of_old_versions(tmp_path: Path) -> None:
    files = write_job(tmp_path, version="3.1")
    assert "3 Å/px" in extrecon("reconstruct", files.star.name, "-o", "map.mrc", folder=tmp_path)


def test_nothing_of_the_users_is_overwritten(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    (tmp_path / "mine.mrc").write_text("precious")
    told = extrecon("reconstruct", files.star.name, "-o", "mine.mrc", folder=tmp_path, code=6)
    assert "already there; give --overwrite" in told
    assert (tmp_path / "mine.mrc").read_text() == "precious"
    extrecon("reconstruct", files.star.name, "-o", "mine.mrc", "--overwrite", folder=tmp_path)
    weight = files.beside("_weight.mrc")
    before = weight.read_bytes()
    told = extrecon("reconstruct", files.star.name, "-o", weight.name, "--overwrite", folder=tmp_path, code=6)
    assert "is an input" in told
    assert weight.read_bytes() == before


def test_regularize_one_map(tmp_path: Path) -> None:
    write(tmp_path / "map.mrc", noisy(1))
    told = extrecon(
        "regularize", "map.mrc", "--regularizer", "smooth", "--set", "sigma=2", "-o", "out", folder=tmp_path
    )
    result = read_map(tmp_path / "out" / "map_smooth.mrc")
    assert result.pixel_size_angstrom == pytest.approx(PIXEL_SIZE)
    assert result.origin_angstrom == (1.0, 2.0, 3.0)
    record = json.loads((tmp_path / "out" / "map_smooth_extrecon.json").read_text())
    assert record["regularizer"]["settings"] == {"sigma": 2.0}
    assert record["safeguards"]["shell_scale"] == "off"
    assert (tmp_path / "out" / "map_smooth_removed.mrc").is_file()
    assert "warning: smoothed" in told


def test_regularize_two_halves_each_by_itself(tmp_path: Path) -> None:
    for half in (1, 2):
        write(tmp_path / f"half{half}.mrc", noisy(half))
    switches = ["--shell-scale", "--fsc-cutoff"]
    extrecon(
        "regularize", "half1.mrc", "half2.mrc", "--regularizer", "smooth", "-o", "out", *switches, folder=tmp_path
    )
    first = read_map(tmp_path / "out" / "half1_smooth.mrc").density
    record = json.loads((tmp_path / "out" / "half2_smooth_extrecon.json").read_text())
    assert 3 < record["safeguards"]["fsc_cutoff"] < 16
    assert 0.5 < np.linalg.norm(first) / np.linalg.norm(noisy(1)) <= 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["regularize", "map.mrc", "--regularizer", "no-such", "-o", "out"], 4, "'no-such' is not installed"),
        (["regularize", "map.mrc", "--regularizer", "smooth", "--set", "x=1", "-o", "out"], 2, "It has: sigma"),
        (["regularize", "absent.mrc", "--regularizer", "smooth", "-o", "out"], 3, "absent.mrc: no such file"),
        (
            ["regularize", "map.mrc", "small.mrc", "--regularizer", "smooth", "-o", "out"],
            3,
            "map.mrc is 32³ voxels, but small.mrc is 16³",
        ),
        (
            ["regularize", "map.mrc", "--regularizer", "smooth", "--fsc-cutoff", "-o", "out"],
            2,
            "needs both half-maps",
        ),
        (["regularize", "map.mrc", "--regularizer", "nan", "-o", "out"], 5, "NaN or infinite"),
        (
            ["regularize", "map.mrc", "--regularizer", "masked", "--mask", "small.mrc", "-o", "out"],
            3,
            "16³ voxels, but the half-map is 32³",
        ),
        (
            [
                "regularize",
                "map.mrc",
                "--regularizer",
                "localdeblur",
                "--local-resolution",
                "small.mrc",
                "-o",
                "out",
            ],
            3,
            "small.mrc is 16³",
        ),
        (
            ["regularize", "map.mrc", "--regularizer", "smooth", "-o", "map.mrc"],
            6,
            "names a folder, but this is a file",
        ),
        (["reconstruct", "map.mrc", "-o", "out.mrc"], 3, "not a STAR file; is it a map?"),
        (["local-resolution", "map.mrc", "--mask", "absent.mrc", "-o", "out"], 3, "absent.mrc: no such file"),
        (["local-resolution", "map.mrc", "small.mrc", "--mask", "map.mrc", "-o", "out"], 3, "small.mrc is 16³"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(words: list[str], code: int, told: str, tmp_path: Path) -> None:
    write(tmp_path / "map.mrc", noisy(1))
    write(tmp_path / "small.mrc", blobs(16))
    said = extrecon(*words, folder=tmp_path, code=code)
    assert told in said
    assert said.startswith("Error: ")
    assert "Traceback" not in said


def test_local_resolution_and_localdeblur_together(tmp_path: Path) -> None:
    for half in (1, 2):
        write(tmp_path / f"half{half}.mrc", noisy(half))
    write(tmp_path / "mask.mrc", blobs(32) > 0.1)
    words = ["half1.mrc", "half2.mrc", "--mask", "mask.mrc", "-o", "res"]
    told = extrecon("local-resolution", *words, folder=tmp_path)
    assert "quartiles" in told
    resolution = read_map(tmp_path / "res" / "local_resolution.mrc").density
    assert set(np.unique(resolution[blobs(32) <= 0.1])) <= {0.0}
    assert 2 * PIXEL_SIZE - 0.5 < np.median(resolution[resolution > 0]) < 40
    assert (tmp_path / "res" / "local_resolution.png").read_bytes().startswith(b"\x89PNG")
    extrecon("local-resolution", *words[:-1], "bare", "--no-pictures", folder=tmp_path)
    assert not list((tmp_path / "bare").glob("*.png"))
    words = ["half1.mrc", "--mask", "mask.mrc", "--local-resolution", "res/local_resolution.mrc", "-o", "sharp"]
    extrecon("regularize", *words, "--regularizer", "localdeblur", folder=tmp_path)
    assert read_map(tmp_path / "sharp" / "half1_localdeblur.mrc").box == 32


def test_regularizers_lists_and_explains(tmp_path: Path) -> None:
    told = extrecon("regularizers", folder=tmp_path)
    for word in ("identity", "localdeblur", "monores", "smooth", "broken-import", "cannot be loaded"):
        assert word in told
    told = extrecon("regularizers", "smooth", folder=tmp_path)
    for word in ("sigma", "0.7", "px", "0 to 9"):
        assert word in told
    assert "has no parameters" in extrecon("regularizers", "identity", folder=tmp_path)


def test_doctor_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.delenv("RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE", raising=False)
    told = extrecon("doctor", folder=tmp_path)
    assert "Before RELION: export RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE=" in told
    assert "localdeblur" in told
    monkeypatch.setenv("RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE", "no-such-program --x")
    assert "'no-such-program' cannot be run" in extrecon("doctor", folder=tmp_path, code=1)
    monkeypatch.setenv("RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE", "relion_external_reconstruct")
    monkeypatch.setenv("EXTRECON_APLY", "never")
    assert "EXTRECON_APLY is not one of extrecon's" in extrecon("doctor", folder=tmp_path, code=extrecon_code())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--regularizer localdeblurr", "Did you mean 'localdeblur'?"),
        ("--set K=narrow", "'narrow' is not a number"),
        ("--aply never", "there is no option --aply. Did you mean '--apply'?"),
        ("--mask absent.mrc", "--mask absent.mrc: no such file"),
        ("--mask 'absent.mrc", "cannot be run"),
    ],
)
def test_doctor_reads_the_options_inside_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, told: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    hook = tmp_path / ("extrecon-hook" if "'" not in options else "no-such-program")
    if "'" not in options:
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o755)
    monkeypatch.setenv("RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE", f"{hook} {options}")
    assert told in extrecon("doctor", folder=tmp_path, code=1)


def extrecon_code() -> int:
    """Without RELION the variable's program cannot be run, and doctor says so by its exit code."""
    import shutil

    return 0 if shutil.which("relion_external_reconstruct", path="/usr/bin:/bin") else 1


def test_version_and_help(tmp_path: Path) -> None:
    assert extrecon("--version", folder=tmp_path).startswith("extrecon 0.")
    told = extrecon("--help", folder=tmp_path)
    for command in ("reconstruct", "regularize", "local-resolution", "regularizers", "doctor"):
        assert command in told


def test_a_trained_regularizer_shows_its_card(tmp_path: Path) -> None:
    told = extrecon("regularizers", "cnn", folder=tmp_path)
    assert "--set" in told
    assert "Where it fails" in told
