"""A simulated data set: what is written, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from extrecon.atoms.scattering import atom_places, centre, low_pass, read_structure, scattering_map
from extrecon.errors import ExtreconError, InputError, UsageError
from extrecon.maps import read_map, read_volume
from extrecon.relion.particles import read_particles
from extrecon.relion.star import read_star
from extrecon.simulate.experiment import Plan, simulate
from extrecon.simulate.motion import moved
from extrecon.simulate.noise import gaussian_noise

PIXEL_SIZE = 4.0


@pytest.fixture
def structure(tmp_path: Path) -> Path:
    """Two chains of 60 carbon atoms each, at random inside 40 Å."""
    rng = np.random.default_rng(5)
    found = gemmi.Structure()
    model = gemmi.Model(1)
    for name in "AB":
        chain = gemmi.Chain(name)
        for index in range(60):
            residue = gemmi.Residue()
            residue.name, residue.seqid = "ALA", gemmi.SeqId(str(index + 1))
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso = "CA", gemmi.Element("C"), 30.0
            atom.pos = gemmi.Position(*rng.uniform(0, 40, 3))
            residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    found.add_model(model)
    path = tmp_path / "two_chains.pdb"
    found.write_pdb(str(path))
    return path


@pytest.fixture
def plan(structure: Path) -> Plan:
    return Plan(structure, box=32, pixel_size_angstrom=PIXEL_SIZE, particles=60, signal_to_noise=0.5)


def run(plan: Plan, folder: Path) -> Path:
    folder.mkdir()
    simulate(plan, folder, lambda stage, fraction: None)
    return folder


def poses(star: Path) -> Rotation:
    return read_particles(star).poses()


def test_the_same_seed_gives_the_same_bytes(plan: Plan, tmp_path: Path) -> None:
    first, second = run(plan, tmp_path / "a"), run(plan, tmp_path / "b")
    other = run(replace(plan, seed=2), tmp_path / "c")
    for name in ("particles.star", "true.star"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    images = [read_volume(folder / "particles.mrcs") for folder in (first, second, other)]
    assert np.array_equal(images[0], images[1])
    assert not np.allclose(images[0], images[2])
    assert (first / "true.star").read_bytes() != (other / "true.star").read_bytes()


def test_the_noise_has_the_ratio_asked_for(plan: Plan, tmp_path: Path) -> None:
    noisy = read_volume(run(replace(plan, shift_px=0.0), tmp_path / "noisy") / "particles.mrcs")
    corner = noisy[:, :5, :5]
    assert corner.std() == pytest.approx(1.0, abs=0.05)
    assert noisy.var(axis=(1, 2)).mean() == pytest.approx(1.5, abs=0.05)


def test_noise_alone_holds_nothing(plan: Plan, tmp_path: Path) -> None:
    images = read_volume(run(replace(plan, signal_to_noise=0.0), tmp_path / "noise") / "particles.mrcs")
    assert images.std() == pytest.approx(1.0, abs=0.02)
    assert abs(images.mean(axis=0)).max() < 6 / np.sqrt(len(images))


def test_starting_angles_are_as_far_off_as_asked_for(plan: Plan, tmp_path: Path) -> None:
    folder = run(replace(plan, particles=400, perturb_degrees=3.0), tmp_path / "turned")
    errors = (poses(folder / "true.star").inv() * poses(folder / "particles.star")).as_rotvec(degrees=True)
    assert errors.std(axis=0) == pytest.approx([3.0] * 3, rel=0.15)
    assert "rlnAngleRot" not in (run(plan, tmp_path / "none") / "particles.star").read_text()


def test_a_low_passed_set_holds_nothing_finer(plan: Plan, tmp_path: Path) -> None:
    given = replace(plan, signal_to_noise=None, low_pass_angstrom=16.0, shift_px=0.0)
    images = read_volume(run(given, tmp_path / "coarse") / "particles.mrcs")
    power = (np.abs(np.fft.rfft2(images)) ** 2).mean(axis=0)
    radius = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)) / PIXEL_SIZE
    beyond = 1 / 16.0 + 2 / (32 * PIXEL_SIZE)
    assert power[radius > beyond].max() < 1e-3 * power[(radius > 0.03) & (radius < 1 / 16.0)].mean()


def test_a_map_can_be_projected_too(plan: Plan, tmp_path: Path) -> None:
    first = run(plan, tmp_path / "first")
    again = run(Plan(first / "truth.mrc", particles=10, noise_sd=2.0), tmp_path / "again")
    before, after = (read_map(folder / "truth.mrc") for folder in (first, again))
    assert np.allclose(after.density, before.density / 2)
    assert after.pixel_size_angstrom == before.pixel_size_angstrom


def test_the_ctf_stands_in_both_star_files(plan: Plan, tmp_path: Path) -> None:
    folder = run(replace(plan, defocus_angstrom=(8000, 12000), astigmatism_angstrom=500), tmp_path / "ctf")
    for name in ("true.star", "particles.star"):
        u, v = (read_star(folder / name).column("particles", f"rlnDefocus{axis}") for axis in "UV")
        assert ((u + v) / 2 >= 8000).all()
        assert ((u + v) / 2 <= 12000).all()
        assert (u - v).max() <= 500


def test_a_moving_chain_moves_alone(structure: Path) -> None:
    found = read_structure(structure)
    centre(found, 32, PIXEL_SIZE)
    still, *others = moved(found, "B", 10.0, 5)
    assert np.allclose(atom_places(still), atom_places(found), atol=1e-6)
    for other in others:
        departure = np.linalg.norm(atom_places(other) - atom_places(found), axis=1)
        assert departure[:60].max() < 1e-6
        assert departure[60:].max() > 1.0


def test_an_atom_becomes_its_scattering_factor(structure: Path) -> None:
    found = read_structure(structure)
    centre(found, 32, PIXEL_SIZE)
    density = scattering_map(found, 32, PIXEL_SIZE)
    carbon = gemmi.Element("C").c4322.calculate_sf(0.0) if hasattr(gemmi.Element("C"), "c4322") else None
    total = density.sum() * PIXEL_SIZE**3
    expected = 120 * (carbon if carbon is not None else 2.5088)  # Σa of carbon, Å (Peng et al., 1996)
    assert total == pytest.approx(expected, rel=0.02)
    assert np.allclose(low_pass(density, 2 * PIXEL_SIZE, PIXEL_SIZE).sum(), density.sum())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pixel_size_angstrom": None}, "give one with --pixel-size"),
        ({"box": 16}, "is only 64 Å; take at least"),
        ({"box": 33}, "must be even"),
        ({"particles": 0}, "at least one particle, not 0"),
        ({"noise_sd": 1.0}, "not both"),
        ({"low_pass_angstrom": 5.0}, "does nothing"),
        ({"orientations": "cone", "tilt_degrees": (40.0, 0.0)}, "not 40 to 0"),
        ({"cone_fraction": 0.5}, "Only a cone or an axis"),
        ({"orientations": "cone", "cone_fraction": 0.0}, "over 0 and at most 1, not 0"),
        ({"orientations": "spiral"}, "'spiral' are unknown"),
        ({"moving_chain": "Z"}, r"no chain 'Z' \(it has: A, B\)"),
        ({"assembly": "9"}, "has no assembly '9'"),
        ({"defocus_angstrom": (2e4, 1e4)}, "from the smaller to the larger"),
    ],
)
def test_nonsense_is_refused(plan: Plan, tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(replace(plan, **change), tmp_path / "refused")  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"box": 64}, "a map, which has its own box; --box 64 is for structures"),
        ({"assembly": "1"}, "a map, which has no assemblies"),
        ({"keep_origin": True}, "no origin of its own"),
        ({"moving_chain": "A"}, "a map has no chains"),
    ],
)
def test_what_only_structures_have_is_refused_of_a_map(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(Plan(tmp_path / "map.mrc", **change), tmp_path / "refused")  # type: ignore[arg-type]  # as above


def test_what_is_not_a_structure_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pdb").write_text("REMARK nothing\n")
    with pytest.raises(InputError, match="no atoms"):
        read_structure(tmp_path / "empty.pdb")
    with pytest.raises(ExtreconError, match="no such file"):
        read_structure(tmp_path / "absent.cif")


def test_old_pdb_files_number_their_lines_where_later_ones_have_charges(tmp_path: Path) -> None:
    line = "ATOM    132  CA  CYS A   1      12.025  21.956  13.016  1.00  5.40      1ABC 132\n"
    (tmp_path / "old.pdb").write_text(line)
    (atom,) = (site.atom for site in read_structure(tmp_path / "old.pdb")[0].all())
    assert (atom.element.name, atom.charge) == ("C", 0)
    assert atom.b_iso == pytest.approx(5.4)
    (tmp_path / "broken.cif").write_text("loop_ 1")
    with pytest.raises(InputError, match="not a readable PDB or mmCIF file"):
        read_structure(tmp_path / "broken.cif")


def test_a_cone_can_hold_a_share_of_the_particles(plan: Plan, tmp_path: Path) -> None:
    given = replace(plan, particles=400, orientations="cone", tilt_degrees=(0.0, 40.0), cone_fraction=0.75)
    heights = poses(run(given, tmp_path / "preferred") / "true.star").as_matrix()[:, 2, 2]
    inside = (heights >= np.cos(np.radians(40))).mean()
    assert inside == pytest.approx(0.75 + 0.25 * (1 - np.cos(np.radians(40))) / 2, abs=0.03)


def test_coloured_noise_has_its_spectrum() -> None:
    noise = gaussian_noise((400, 32, 32), np.random.default_rng(1), correlation_px=2.0)
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    squared = np.fft.fftfreq(32)[:, None] ** 2 + np.fft.fftfreq(32) ** 2
    flat = power * (1 + (4 * np.pi) ** 2 * squared)
    assert flat.std() / flat.mean() < 0.1
