"""``extrecon validate`` from its command line: half-maps with a truth and a model, and a finished job's poses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gemmi
import numpy as np
import pytest
import scipy.ndimage
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.errors import InputError, MapError, UsageError
from extrecon.fourier.masks import soft_sphere
from extrecon.maps import HalfMap, read_map, read_volume, write_map
from extrecon.maps.mrc import write_volume
from extrecon.record import Record, record_path
from extrecon.relion.particles import Optics, write_particles
from extrecon.validate.fsc import shell_radius
from extrecon.validate.inputs import Inputs, from_job
from extrecon.validate.scores import pose_scores, score
from tests.pictures.pages import Page

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo_data"


def validate(*words: str | Path) -> str:
    ran = CliRunner().invoke(app, ["validate", *map(str, words)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_the_wilson_fit_ends_where_the_map_was_cut_off() -> None:
    rng, pixel, box = np.random.default_rng(1), 1.5, 64
    spectrum = np.fft.rfftn(rng.standard_normal((box,) * 3))
    frequency = shell_radius(box) / (box * pixel)
    cut = np.exp(-60.0 * frequency**2 / 4) * (frequency <= 1 / 4.0)
    density = np.fft.irfftn(spectrum * cut, s=(box,) * 3, axes=(0, 1, 2)).astype(np.float32)
    wilson = score(Inputs(map=HalfMap(density, pixel), mask=np.ones_like(density)))["guinier"]["wilson"]
    assert wilson["b_factor"] == pytest.approx(60.0, abs=10.0)
    assert wilson["high_angstrom"] == pytest.approx(4.0, abs=0.2)


def test_half_maps_against_the_truth(tmp_path: Path) -> None:
    halves = [DEMO / "half1.mrc", DEMO / "half2.mrc"]
    truth: list[str | Path] = ["--truth", DEMO / "truth.mrc", "--mask", DEMO / "mask.mrc"]
    validate(*halves, "-o", tmp_path, *truth, "--local-resolution", DEMO / "mask.mrc")
    scores = json.loads((tmp_path / "validation.json").read_text())
    assert 10.8 <= scores["half_maps"]["resolution_angstrom"] <= 14.5
    assert scores["half_maps"]["directional_worst_angstrom"] < 20
    assert 0.7 < scores["truth"]["mean_masked_fsc"] < 1
    page = Page(tmp_path / "validation.html")
    assert page.tags.count("svg") == 4
    assert f"{scores['half_maps']['resolution_angstrom']:.2f} Å" in page.text
    assert (tmp_path / "validation.png").stat().st_size > 10_000


def test_where_the_half_maps_end_the_resolution_ends(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    n, last, pixel = 32, 10, 2.0
    axis = np.fft.fftfreq(n, 1 / n)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + np.arange(n // 2 + 1) ** 2)
    signal = scipy.ndimage.gaussian_filter(rng.standard_normal((n, n, n)), 0.7)
    for half in (1, 2):
        spectrum = np.fft.rfftn(signal + 0.02 * rng.standard_normal((n, n, n)))
        spectrum[np.floor(radius + 0.5) > last] *= 1e-8  # what single precision leaves of nothing, alike in both
        density = np.fft.irfftn(spectrum, s=(n, n, n), axes=(0, 1, 2)).astype(np.float32)
        write_map(tmp_path / f"half{half}.mrc", HalfMap(density, pixel))
    write_map(tmp_path / "mask.mrc", HalfMap(soft_sphere(n, 9.0), pixel))
    printed = validate(
        tmp_path / "half1.mrc", tmp_path / "half2.mrc", "--mask", tmp_path / "mask.mrc", "-o", tmp_path / "scores"
    )
    found = json.loads((tmp_path / "scores" / "validation.json").read_text())["half_maps"]
    ends = pytest.approx(n * pixel / last)
    assert found["last_filled_shell"] == last
    assert found["resolution_angstrom"] == found["unmasked_resolution_angstrom"] == ends
    # In every direction, the few points of the first shells notwithstanding.
    assert found["directional_best_angstrom"] == found["directional_worst_angstrom"] == ends
    assert "The half-maps end" in printed


def test_regularized_half_maps_are_told_from_measured_ones(tmp_path: Path) -> None:
    halves = [tmp_path / f"half{half}_cnn.mrc" for half in (1, 2)]
    for half, path in enumerate(halves, 1):
        shutil.copy(DEMO / f"half{half}.mrc", path)
    assert "WARNING" not in validate(*halves, "-o", tmp_path / "plain")
    for path in halves:
        told = Record(str(path), "regularized", regularizer={"name": "cnn"})
        told.write(record_path(path.with_suffix("")))
    printed = validate(*halves, "-o", tmp_path / "regularized")
    assert "regularized half-maps" in printed
    assert json.loads((tmp_path / "regularized" / "validation.json").read_text())["regularized_by"] == ["cnn"]
    page = Page(tmp_path / "regularized" / "validation.html")
    assert "WARNING" in page.text
    assert f"half-map 2 {halves[1]}" in page.text


def test_every_warning_stands_on_the_page(tmp_path: Path) -> None:
    half = read_map(DEMO / "half1.mrc")
    odd = tmp_path / "<half1>.mrc"
    write_map(odd, HalfMap(half.density, half.pixel_size_angstrom * 1.002))
    validate(odd, DEMO / "half2.mrc", "-o", tmp_path / "scores")
    warnings = json.loads((tmp_path / "scores" / "validation.json").read_text())["warnings"]
    assert warnings
    page = Page(tmp_path / "scores" / "validation.html")
    assert all(" ".join(warning.split()) in page.text for warning in warnings)
    assert str(odd) in page.text


def test_the_truth_against_itself_is_perfect(tmp_path: Path) -> None:
    validate(DEMO / "truth.mrc", "-o", tmp_path, "--truth", DEMO / "truth.mrc")
    scores = json.loads((tmp_path / "validation.json").read_text())
    assert scores["truth"]["real_space_correlation"] == pytest.approx(1.0)
    assert scores["truth"]["masked"][1:-1] == pytest.approx([1.0] * 15)


def test_a_model_is_scored_in_the_maps_frame(tmp_path: Path) -> None:
    data = tmp_path / "data"
    _simulated(tmp_path, data)
    validate(data / "truth.mrc", "-o", tmp_path / "scores", "--model", data / "structure.cif")
    scores = json.loads((tmp_path / "scores" / "validation.json").read_text())["model"]
    assert scores["real_space_correlation"] > 0.999
    assert scores["mean_q_score"] > 0.8
    assert len(scores["residue_q_scores"]) == 40


def test_a_model_with_half_maps_gets_fsc_q_in_table_page_and_files(tmp_path: Path) -> None:
    made = tmp_path / "data"
    _simulated(tmp_path, made)
    truth = read_map(made / "truth.mrc")
    rng, noise = np.random.default_rng(3), 0.1 * truth.density.std()
    halves = [tmp_path / f"half{half}.mrc" for half in (1, 2)]
    for path in halves:
        write_map(path, truth.with_density(truth.density + noise * rng.standard_normal(truth.density.shape)))
    given: list[str | Path] = [*halves, "-o", tmp_path / "scores", "--model", made / "structure.cif", "--fsc-q-map"]
    printed = validate(*given, "--fsc-q-window", "20")
    scores = json.loads((tmp_path / "scores" / "validation.json").read_text())
    assert scores["warnings"] == []
    assert scores["model"]["opposite_sign"] == []
    support = scores["fsc_q"]
    assert support["window_angstrom"] == pytest.approx(20)
    assert abs(support["mean_angstrom"]) < 0.5
    assert sum(support["counts"]) == len(support["residues_angstrom"]) == 40
    assert "FSC-Q" in printed
    assert Page(tmp_path / "scores" / "validation.html").tags.count("svg") == 5
    rows = (tmp_path / "scores" / "validation_fsc_q.csv").read_text().splitlines()
    assert rows[0] == "chain,residue,atom,alternative,fsc_q_angstrom,fsc_q_relative"
    chain, residue, atom, _, value, _ = rows[7].split(",")
    coloured = gemmi.read_structure(str(tmp_path / "scores" / "validation_fsc_q.cif"))
    original = gemmi.read_structure(str(made / "structure.cif"))
    site, before = list(coloured[0].all())[6], list(original[0].all())[6]
    assert (chain, residue, atom) == (site.chain.name, f"ALA {site.residue.seqid}", site.atom.name)
    assert site.atom.b_iso == pytest.approx(float(value), abs=0.006)
    assert site.atom.pos.dist(before.atom.pos) < 0.01
    place = np.round(np.array(site.atom.pos.tolist())[::-1] / truth.pixel_size_angstrom).astype(int)
    values = read_volume(tmp_path / "scores" / "validation_fsc_q.mrc")
    assert values[tuple(place)] == pytest.approx(float(value), abs=0.1)
    with pytest.raises(UsageError, match="needs half-maps and a --model"):
        validate(halves[0], "-o", tmp_path / "more", "--fsc-q-map")


def test_a_map_of_opposite_sign_in_zones_is_warned_of(tmp_path: Path) -> None:
    truth, mask = read_map(DEMO / "truth.mrc"), DEMO / "mask.mrc"
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*[np.fft.fftfreq(32, 1 / 32)] * 3, indexing="ij")))
    gain = np.where((radius > 4.5) & (radius < 7.5), -1.0, 1.0)
    density = np.fft.ifftn(np.fft.fftn(truth.density) * gain).real
    write_map(tmp_path / "wrong.mrc", truth.with_density(density.astype(np.float32)))
    given: list[str | Path] = ["--truth", DEMO / "truth.mrc", "--mask", mask, "-o", tmp_path / "scores"]
    printed = " ".join(validate(tmp_path / "wrong.mrc", *given).split())
    scores = json.loads((tmp_path / "scores" / "validation.json").read_text())
    (zone,) = scores["truth"]["opposite_sign"]
    assert abs(zone["first_shell"] - 5) <= 1
    assert abs(zone["last_shell"] - 7) <= 1
    assert "opposite sign of the truth" in scores["warnings"][0]
    assert "opposite sign of the truth" in printed


def _simulated(tmp_path: Path, folder: Path) -> None:
    """Write forty atoms that stand apart, and particles of them with their true map."""
    found, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
    for index, place in enumerate(np.random.default_rng(0).uniform(20, 44, (40, 3))):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(index + 1))
        atom.name, atom.element, atom.b_iso, atom.pos = "CA", gemmi.Element("C"), 20.0, gemmi.Position(*place)
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    found.add_model(model)
    found.write_pdb(str(tmp_path / "model.pdb"))
    simulated = ["simulate", str(tmp_path / "model.pdb"), "-o", str(folder), "--box", "64"]
    more = ["--pixel-size", "1", "--particles", "2"]
    assert CliRunner().invoke(app, [*simulated, *more], catch_exceptions=False).exit_code == 0


def test_images_are_matched_by_number_and_halves_drift_apart(tmp_path: Path) -> None:
    true = Rotation.random(40, random_state=np.random.default_rng(1))
    none = np.zeros((40, 2))
    write_particles(tmp_path / "true.star", Optics(32, 4.0), true, none, "particles.mrcs")
    order = np.random.default_rng(2).permutation(40)
    half = (np.arange(40) % 2 + 1).astype(np.float64)
    drift = Rotation.from_euler("z", 2.0, degrees=True)
    moved = Rotation.concatenate([drift * true[i] if half[i] == 2 else true[i] for i in range(40)])
    subset = {"rlnRandomSubset": half}
    write_particles(tmp_path / "found.star", Optics(32, 4.0), moved, none, "particles.mrcs", subset)
    head, rows = _split(tmp_path / "found.star")
    (tmp_path / "found.star").write_text(head + "\n".join(rows[i] for i in order) + "\n\n")
    scores = pose_scores(tmp_path / "found.star", tmp_path / "true.star", "C1")
    assert scores["half1"]["median_angle_degrees"] < 0.01
    assert scores["half2"]["median_angle_degrees"] == pytest.approx(2.0, abs=0.01)
    assert scores["half2"]["drift_degrees"] == pytest.approx(2.0, abs=0.01)
    assert scores["half2"]["median_angle_without_drift_degrees"] < 0.01


def _split(path: Path) -> tuple[str, list[str]]:
    lines = path.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.endswith("000001@particles.mrcs"))
    return "\n".join(lines[:first]) + "\n", [line for line in lines[first:] if line]


def test_an_image_without_a_true_pose_is_refused(tmp_path: Path) -> None:
    poses = Rotation.random(3, random_state=np.random.default_rng(1))
    write_particles(tmp_path / "found.star", Optics(32, 4.0), poses, np.zeros((3, 2)), "particles.mrcs")
    write_particles(tmp_path / "true.star", Optics(32, 4.0), poses[:2], np.zeros((2, 2)), "particles.mrcs")
    with pytest.raises(InputError, match=r"no true pose for image 3 of"):
        pose_scores(tmp_path / "found.star", tmp_path / "true.star", "C1")


def test_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one finished refinement"):
        from_job(tmp_path)
    write_volume(tmp_path / "small.mrc", read_volume(DEMO / "truth.mrc")[:24, :24, :24], 5.4)
    with pytest.raises(MapError, match="32³ voxels, but the truth is 24³"):
        validate(DEMO / "half1.mrc", "-o", tmp_path, "--truth", tmp_path / "small.mrc")
    with pytest.raises(MapError, match=r"32³ voxels, but .*small\.mrc is 24³"):
        validate(DEMO / "half1.mrc", tmp_path / "small.mrc", "-o", tmp_path)
    with pytest.raises(UsageError, match="for a RELION job"):
        validate(DEMO / "half1.mrc", "-o", tmp_path, "--true-poses", DEMO / "particles.star")
