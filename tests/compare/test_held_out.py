"""Held-out particles with the real RELION, and with a program in its place."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from extrecon.atoms.scattering import low_pass
from extrecon.compare.held_out import (
    Alignment,
    HeldOutSearch,
    align_held_out,
    align_with_empty,
    judge_held_out,
    paired_difference,
)
from extrecon.compare.refinement import Cost
from extrecon.errors import MapError, RefinementError, UsageError
from extrecon.maps.mrc import read_map, write_volume
from extrecon.regularizer import no_progress
from extrecon.relion.labels import NOISE_POWER
from extrecon.relion.star import read_star
from extrecon.simulate.experiment import Plan, simulate
from tests.compare.conftest import TRUTH

SEARCH = HeldOutSearch(150.0, 12.0, sigma_degrees=3.0, offset_range_px=2.0, healpix_order=3)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Particles with their angles 3° off, and their true map."""
    folder = tmp_path_factory.mktemp("unseen")
    plan = Plan(
        TRUTH, particles=40, signal_to_noise=0.15, perturb_degrees=3.0, defocus_angstrom=(8000.0, 15000.0), seed=5
    )
    simulate(plan, folder, no_progress)
    return folder


def written(folder: Path, name: str, density: np.ndarray) -> Path:
    path = folder / f"{name}.mrc"
    write_volume(path, density, read_map(TRUTH).pixel_size_angstrom)
    return path


@pytest.mark.relion
@pytest.mark.usefixtures("relion_programs")
def test_the_map_nearer_to_the_truth_is_likelier(unseen: Path, tmp_path: Path) -> None:
    truth = read_map(unseen / "truth.mrc")
    density, pixel = np.asarray(truth.density, np.float64), truth.pixel_size_angstrom
    noise = np.random.default_rng(1).standard_normal(density.shape) * density.std()
    maps = {"true": density, "some noise": density + 0.5 * noise, "much noise": density + noise}
    maps |= {"blurred": low_pass(density, 30.0, pixel), "far too strong": 3 * density}
    particles = unseen / "particles.star"
    empty = align_with_empty(unseen / "truth.mrc", particles, tmp_path / "empty", SEARCH)
    nats, told = {}, {}
    for name, each in maps.items():
        path = written(tmp_path, name.replace(" ", "_"), each)
        alignment = align_held_out(path, particles, tmp_path / name.replace(" ", "-"), SEARCH)
        assert _noise(alignment) == pytest.approx(_noise(empty))
        verdict = judge_held_out(alignment, empty, SEARCH)
        nats[name], told[name] = verdict.nats, verdict.told()
    mean = {name: values.mean() for name, values in nats.items()}
    assert mean["true"] > mean["some noise"] > mean["much noise"]
    assert mean["true"] > mean["blurred"] > 0
    assert mean["true"] > 0 > mean["far too strong"]
    difference, error = paired_difference(nats["true"].tolist(), nats["some noise"].tolist())
    assert difference == pytest.approx(mean["true"] - mean["some noise"])
    assert difference > 3 * error
    # Were a blurred map judged by fewer Fourier points, it would differ from an empty one by hundreds of nats.
    assert mean["blurred"] < mean["true"] + 1
    true, noisy = told["true"], told["much noise"]
    assert true["held_out_particles"] == 40
    assert true["held_out_grey_scale"] == pytest.approx(1, abs=0.15)
    assert told["far too strong"]["held_out_grey_scale"] == pytest.approx(1 / 3, abs=0.1)
    for key in ("held_out_nats", "held_out_nats_at_pose", "held_out_nats_at_best_filter", "held_out_mean_frc"):
        assert true[key] > noisy[key]
    # Integrated over poses it is below the best one, which noise has helped to choose.
    assert true["held_out_nats"] < true["held_out_nats_at_pose"]


def _noise(alignment: Alignment) -> np.ndarray:
    star = read_star(alignment.model)
    blocks = [block for block in star.loops() if star.has_column(block, NOISE_POWER)]
    return np.stack([star.column(block, NOISE_POWER) for block in blocks])


FAKE = """#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --o) out=$2;; --i) particles=$2;; esac; shift; done
awk '/@/ { rows[++n] = $0; next }
    /_rlnImageName/ { print; sub("#", ""); print "_rlnLogLikeliContribution #" $2 + 1; next }
    { print } END { for (i = n; i > 0; i--) print rows[i], 100 + i }
    ' "$particles" | grep -v '^$' > ${out}_it001_data.star
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program in RELION's place that gives the particles back in another order."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "relion_refine"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return program


@pytest.mark.usefixtures("fake")
def test_likelihoods_come_in_the_particles_order_whatever_relions(unseen: Path, tmp_path: Path) -> None:
    found = align_held_out(unseen / "truth.mrc", unseen / "particles.star", tmp_path / "job", SEARCH)
    assert found.log_likelihoods.tolist() == [101.0 + row for row in range(40)]
    given = read_map(found.reference).density
    radius = np.linalg.norm(np.indices(given.shape) - 16, axis=0)
    assert np.abs(given[radius > 75 / 5.4 + 5]).max() == 0
    assert given[radius < 10] == pytest.approx(read_map(unseen / "truth.mrc").density[radius < 10])


def test_a_particle_left_out_and_a_failure_are_told(unseen: Path, tmp_path: Path, fake: Path) -> None:
    fake.write_text(FAKE.replace("i > 0", "i > 1"))
    with pytest.raises(RefinementError, match=r"no likelihood for 000001@particles\.mrcs"):
        align_held_out(unseen / "truth.mrc", unseen / "particles.star", tmp_path / "job", SEARCH)
    fake.write_text("#!/bin/sh\necho it was the mask >&2\nexit 3\n")
    with pytest.raises(RefinementError, match="RELION ended with code 3"):
        align_held_out(unseen / "truth.mrc", unseen / "particles.star", tmp_path / "job", SEARCH)
    with pytest.raises(MapError, match="but the mask is 8³"):
        align_held_out(
            unseen / "truth.mrc", unseen / "particles.star", tmp_path / "job", SEARCH, mask=np.ones((8, 8, 8))
        )


def test_every_map_meets_the_same_points_and_poses() -> None:
    search = HeldOutSearch(190.0, 10.0, "D2", threads=2, more=("--ctf_intact_first_peak",))
    words = search.words(Path("held.star"), Path("map.mrc"), "run", 64)
    told = " ".join(words)
    assert "--strict_highres_exp 10 --incr_size 64" in told
    assert "--perturb 0" in told
    assert "--sym D2" in told
    assert words[-1] == "--ctf_intact_first_peak"
    assert not re.search(r"--(norm|scale|ini_high|firstiter_cc|auto_refine|sigma_ang)\b", told)
    assert "--ctf --ctf_corrected_ref" in told
    assert "--ctf" not in HeldOutSearch(190.0, 10.0, ctf=False).words(Path("a"), Path("b"), "c", 64)


@pytest.mark.parametrize(("finest", "order"), [(30.0, 1), (16.0, 2), (10.0, 3), (5.0, 4), (0.5, 5)])
def test_the_usual_grid_follows_the_limit(finest: float, order: int) -> None:
    search = HeldOutSearch(190.0, finest)
    assert search.usual_order == order
    step = 60.0 / 2**order / 2
    if order < 5:
        assert np.radians(step) * 95 <= finest


def test_differences_are_of_the_same_particles() -> None:
    assert paired_difference([3.0, 5.0, 4.0], [2.0, 3.0, 1.0]) == pytest.approx((2.0, 1 / 3**0.5))
    cost = Cost(1.0, 1.0, 1)
    one, other = (
        Alignment(Path("m"), Path(name), Path("p"), Path("n"), np.zeros(0), cost) for name in ("a.star", "b.star")
    )
    with pytest.raises(UsageError, match="are not the same particles"):
        judge_held_out(one, other, SEARCH)
