"""Maps that do not belong together, or are odd, as a user gives them to each command that reads them."""

from __future__ import annotations

import json
from pathlib import Path

import gemmi
import numpy as np
import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.errors import ExtreconError, InputError, MapError
from extrecon.maps import HalfMap, read_map, write_map
from tests.jobs import PIXEL_SIZE, blobs

pytestmark = pytest.mark.usefixtures("plugins")
BOX = 24


def density(seed: int = 1) -> np.ndarray:
    noisy: np.ndarray = blobs(BOX) + 0.1 * np.random.default_rng(seed).normal(size=(BOX,) * 3)
    return noisy.astype(np.float32)


def write(path: Path, values: np.ndarray, pixel: float = PIXEL_SIZE) -> Path:
    write_map(path, HalfMap(values.astype(np.float32), pixel))
    return path


def extrecon(*words: str | Path) -> str:
    ran = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return " ".join(ran.output.split())


COMMANDS = {
    "regularize": ["--regularizer", "masked", "--no-pictures"],
    "local-resolution": [],
    "validate": [],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    for half in (1, 2):
        write(Path(f"half{half}.mrc"), density(half))
    write(Path("mask.mrc"), blobs(BOX) > 0.1)
    return tmp_path


def command(name: str, *halves: str, mask: str = "mask.mrc", out: str = "out") -> str:
    return extrecon(name, *halves, "--mask", mask, "-o", out, *COMMANDS[name])


@pytest.mark.parametrize("scale", [1.0, 0.37])
@pytest.mark.parametrize("name", COMMANDS)
def test_one_map_given_as_both_halves_is_refused(name: str, scale: float, folder: Path) -> None:
    write(Path("copy.mrc"), scale * density(1) + (scale != 1.0))
    with pytest.raises(MapError, match=r"half1\.mrc and copy\.mrc hold the same map"):
        command(name, "half1.mrc", "copy.mrc")
    assert not Path("out").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_half_maps_of_two_pixel_sizes_are_refused(name: str, folder: Path) -> None:
    write(Path("half2.mrc"), density(2), 1.02 * PIXEL_SIZE)
    with pytest.raises(MapError, match=r"half1\.mrc has 3 Å/px, but half2\.mrc has 3\.06 Å/px"):
        command(name, "half1.mrc", "half2.mrc")


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_odd_about_a_map_is_printed(name: str, folder: Path) -> None:
    write(Path("half2.mrc"), density(2), 1.002 * PIXEL_SIZE)
    half1 = Path("half1.mrc")
    half1.write_bytes(half1.read_bytes() + b"\0" * 100)
    write(Path("mask.mrc"), 1.02 * (blobs(BOX) > 0.1), 1.0)
    told = command(name, "half1.mrc", "half2.mrc")
    for sentence in (
        "warning: half1.mrc: holds 100 bytes more than its header says",
        "half1.mrc has 3 Å/px, but half2.mrc has 3.006 Å/px",
        "mask.mrc has 1 Å/px, but",
        "runs from 0 to 1.02; it was clipped",
    ):
        assert sentence in told


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mask_of_another_pixel_size_is_refused(name: str, folder: Path) -> None:
    write(Path("mask.mrc"), blobs(BOX) > 0.1, 2 * PIXEL_SIZE)
    with pytest.raises(MapError, match=r"mask\.mrc has 6 Å/px, but the (half-)?map has 3 Å/px"):
        command(name, "half1.mrc", "half2.mrc")
    extrecon(name, "half1.mrc", "--mask", "mask.mrc", "-o", "out", *COMMANDS[name], "--pixel-size", "3.1")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mask_of_bytes_is_rescaled_when_told_to(name: str, folder: Path) -> None:
    write(Path("mask.mrc"), 255 * (blobs(BOX) > 0.1))
    with pytest.raises(MapError, match="looks like bytes from 0 to 255: give --rescale-mask"):
        command(name, "half1.mrc")
    told = extrecon(name, "half1.mrc", "--mask", "mask.mrc", "-o", "out", *COMMANDS[name], "--rescale-mask")
    assert "rescaled from bytes from 0 to 255" in told


@pytest.mark.parametrize("option", ["--truth", "--local-resolution"])
def test_what_a_map_is_scored_against_must_be_on_its_grid(option: str, folder: Path) -> None:
    write(Path("other.mrc"), density(3), 2 * PIXEL_SIZE)
    with pytest.raises(MapError, match=r"other\.mrc has 6 Å/px"):
        extrecon("validate", "half1.mrc", option, "other.mrc", "-o", "out")


def test_local_resolution_given_for_another_grid_is_refused(folder: Path) -> None:
    write(Path("other.mrc"), 8 * (blobs(BOX) > 0.1), 2 * PIXEL_SIZE)
    words = ["half1.mrc", "--regularizer", "localdeblur", "--local-resolution", "other.mrc", "-o", "out"]
    with pytest.raises(MapError, match=r"other\.mrc has 6 Å/px"):
        extrecon("regularize", *words)


def test_masks_and_local_resolution_are_not_overwritten(folder: Path) -> None:
    target = Path("out") / "half1_masked.mrc"
    target.parent.mkdir()
    write(target, blobs(BOX) > 0.1)
    before = target.read_bytes()
    with pytest.raises(ExtreconError, match="is an input of this command"):
        extrecon("regularize", "half1.mrc", "--mask", target, "-o", "out", *COMMANDS["regularize"], "--overwrite")
    assert target.read_bytes() == before


def chain_of_atoms(places: np.ndarray) -> gemmi.Structure:
    found, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
    for index, place in enumerate(places):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(index + 1))
        atom.name, atom.element, atom.b_iso = "CA", gemmi.Element("C"), 60.0
        atom.pos = gemmi.Position(*place)
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    found.add_model(model)
    return found


@pytest.mark.parametrize(
    ("origin", "start"),
    [((0.0, 0.0, 0.0), (0, 0, 0)), ((100.0, 100.0, 100.0), (0, 0, 0)), ((0, 0, 0), (50, 60, -70))],
)
def test_a_model_is_scored_where_the_header_places_the_map(
    origin: tuple[float, float, float], start: tuple[int, int, int], folder: Path
) -> None:
    from extrecon.atoms.frame import place_in_map
    from extrecon.atoms.scattering import scattering_map
    from extrecon_regularizers.profile.model_map import model_map

    box, pixel = 32, 2.0
    places = np.random.default_rng(0).uniform(20, 44, (12, 3))
    frame = HalfMap(np.zeros((box,) * 3, np.float32), pixel)
    model = chain_of_atoms(places)
    place_in_map(model, frame, "model")
    values = scattering_map(model, box, pixel).astype(np.float32)
    moved = HalfMap(values, pixel, origin, start)
    write_map(Path("map.mrc"), moved)
    chain_of_atoms(places + np.array(origin) + pixel * np.array(start)).write_pdb("moved.pdb")
    extrecon("validate", "map.mrc", "--model", "moved.pdb", "-o", "out")
    found = json.loads(Path("out/validation.json").read_text())["model"]
    assert found["real_space_correlation"] > 0.999
    assert found["mean_masked_fsc"] > 0.99
    assert model_map(Path("moved.pdb"), read_map(Path("map.mrc"))) == pytest.approx(
        values, abs=2e-2 * float(values.max())
    )


def test_a_model_far_from_the_map_is_told(folder: Path) -> None:
    chain_of_atoms(np.full((3, 3), 500.0)).write_pdb("far.pdb")
    with pytest.raises(InputError, match=r"far\.pdb: no atom lies in the map, which covers x 0 to 72"):
        extrecon("validate", "half1.mrc", "--model", "far.pdb", "-o", "out")
