"""What the denoiser is trained on: nothing like what it is evaluated on, and half-maps as they are meant."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.error import URLError

import gemmi
import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
from scipy.spatial.transform import Rotation
from training.half_maps import Grid, between_blurs, simulate_half_map
from training.particles import Particle, ring
from training.pdb_entries import within_reach
from training.side_chains import SideChains, frames
from training.similarity import SIMILAR_SCORE, Aligner
from training.sources import EVALUATION, HELD_OUT_ENTRIES, RELATIVES, VALIDATION
from training.structure_database import Backbone

from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import soft_sphere
from extrecon.fourier.resolution import ONE_SEVENTH, first_shell_under
from extrecon.fourier.shells import Shells, fourier_shell_correlation
from extrecon_regularizers.networks.weights import folder

TRAINED_ON = json.loads((folder() / "denoiser_training_set.json").read_text())

# Human ubiquitin and its relative NEDD8 (60 % identical), and hen egg-white lysozyme.
UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
NEDD8 = "MLIKVKTLTGKEIEIDIEPTDKVERIKERVEEKEGIPPQQQRLIYSGKQMNDEKTAADYKILGGSVLHLVLALRGG"
LYSOZYME = (
    "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWWCNDGRTPGSRNLCNIPCSALLSSDITASVNCAKKIVS"
    "DGNGMNAWVAWRNRCKGTDVQAWIRGCRL"
)


def test_no_evaluation_or_validation_structure_was_trained_on() -> None:
    used = set(TRAINED_ON["used"])
    assert len(used) > 1000
    assert not used & {*EVALUATION, *RELATIVES, *VALIDATION, *HELD_OUT_ENTRIES}
    assert not used & set(TRAINED_ON["left_out"])


def test_the_shared_evaluation_list_is_excluded() -> None:
    page = Path(__file__).resolve().parents[2] / "shared" / "data.md"
    if not page.is_file():
        pytest.skip("the list of evaluation structures is not beside the repository")
    text = page.read_text().partition("Kept for evaluation")[2]
    assert all(entry in text for entry in EVALUATION)


def test_entries_that_cannot_be_fetched_or_read_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_network(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", without_network)
    here = gemmi.Structure()
    here.add_model(gemmi.Model(1))
    here[0].add_chain(gemmi.Chain("A"))
    here[0]["A"].add_residue(gemmi.Residue())
    here[0]["A"][0].name = "GLY"
    here[0]["A"][0].add_atom(gemmi.Atom())
    here.write_pdb(str(tmp_path / "1ABC.pdb"))
    (tmp_path / "2BAD.pdb").write_text("no structure\n")
    found = list(within_reach(["9XYZ", "2BAD", "1ABC"], tmp_path))
    assert [entry for entry, _ in found] == ["1ABC"]
    told = capsys.readouterr().out
    assert "9XYZ is left out" in told
    assert "2BAD is left out" in told
    assert not (tmp_path / "9XYZ.cif").exists()


def test_relatives_are_alike_and_strangers_are_not() -> None:
    aligner = Aligner()
    assert aligner.score(UBIQUITIN, NEDD8) > 2 * SIMILAR_SCORE
    assert aligner.is_like_any(NEDD8, [LYSOZYME, UBIQUITIN])
    assert not aligner.is_like_any(UBIQUITIN, [LYSOZYME])


def test_shuffled_sequences_are_not_alike() -> None:
    rng = np.random.default_rng(1)
    letters = np.array(list(LYSOZYME))
    scores = [Aligner().score(LYSOZYME, "".join(rng.permutation(letters))) for _ in range(50)]
    assert max(scores) < 0.8 * SIMILAR_SCORE


def test_a_part_of_a_sequence_is_alike_to_the_whole() -> None:
    assert Aligner().is_like_any(LYSOZYME[30:90], [LYSOZYME])


def peptide() -> gemmi.Structure:
    """Two alanines and a serine; their geometry does not matter here."""
    chain = gemmi.Chain("A")
    rng = np.random.default_rng(1)
    for number, name in enumerate(["ALA", "ALA", "SER"], 1):
        residue = gemmi.Residue()
        residue.name, residue.seqid = name, gemmi.SeqId(str(number))
        places = {"N": (0, 1.4, 0), "CA": (0, 0, 0), "C": (1.5, 0, 0), "O": (2, 1, 0), "CB": (-0.5, -0.8, 1.2)}
        places |= {"OG": (-1.5, -1.2, 1.9)} if name == "SER" else {}
        turn = Rotation.random(random_state=rng)
        for atom_name, place in places.items():
            atom = gemmi.Atom()
            atom.name, atom.element = atom_name, gemmi.Element(atom_name[0])
            atom.pos = gemmi.Position(*(turn.apply(place) + 5 * number))
            residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    found = gemmi.Structure()
    found.add_model(model)
    return found


def test_side_chains_keep_their_place_in_the_residue_s_frame() -> None:
    found = peptide()
    names = ("N", "CA", "C", "O")
    places = np.array([[residue[name][0].pos.tolist() for name in names] for residue in found[0]["A"]])
    elements, built = SideChains([found]).build(Backbone("TEST", "A", "AAS", places), np.random.default_rng(1))
    wanted = [atom.pos.tolist() for residue in found[0]["A"] for atom in residue if atom.name in {"CB", "OG"}]
    assert sorted(elements) == ["C", "C", "C", "O"]
    assert np.allclose(sorted(built.tolist()), sorted(wanted), atol=1e-6)


def test_frames_are_rotations() -> None:
    axes = frames(np.random.default_rng(2).standard_normal((7, 4, 3)))
    assert np.allclose(axes @ axes.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(axes), 1)


def test_a_ring_s_copies_touch_but_do_not_meet() -> None:
    rng = np.random.default_rng(3)
    ball = rng.standard_normal((300, 3))
    particle = Particle(["C"] * 300, 15 * ball / np.linalg.norm(ball, axis=1, keepdims=True))
    places = ring(particle, 3, rng).places.reshape(3, 300, 3)
    gap = np.linalg.norm(places[0][:, None] - places[1][None], axis=2).min()
    assert 3.0 < gap < 8.0


def truth() -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(4)
    grain = rng.standard_normal((48,) * 3)
    return (soft_sphere(48, 13.0) * (1 + grain)).astype(np.float32)


def test_blurring_by_a_constant_field_is_a_gaussian() -> None:
    grid = Grid(48, 2.0)
    ours = between_blurs(truth(), np.full((48,) * 3, 2.8**2, dtype=np.float32), grid)
    spectrum = scipy.fft.rfftn(truth()) * np.exp(-2 * np.pi**2 * 2.8**2 * grid.square_frequency)
    assert np.allclose(ours, scipy.fft.irfftn(spectrum, s=(48,) * 3), atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_no_half_map_holds_more_truth_than_its_fsc_says(seed: int) -> None:
    """By Cauchy and Schwarz; the sphere, cut after the FSC was taken, may remove half of the noise."""
    simulated = simulate_half_map(truth(), 2.0, np.random.default_rng(seed), finest=8.0)
    shells = Shells(48, cpu(1))
    with_truth = fourier_shell_correlation(
        shells.spectrum(simulated.half_map), shells.spectrum(simulated.truth), shells
    )
    told = np.clip(simulated.fsc, 0.0, 1.0)
    assert np.mean(with_truth[2:18] ** 2) < np.mean((told / (told + 0.45 * (1 - told)))[2:18]) + 0.05
    at = first_shell_under(simulated.fsc, ONE_SEVENTH)
    assert 5.5 < 48 * 2.0 / at < 14.0
