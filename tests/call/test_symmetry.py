"""A density averaged over a point group: against blobs whose symmetric copies are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.call.pipeline import run_job
from extrecon.call.symmetry import average, averaged, cosets_of
from extrecon.fourier.compute import cpu
from extrecon.maps import read_map
from extrecon.options import resolve
from extrecon.relion.names import parse_job_name
from extrecon.relion.search import read_search_state
from extrecon.relion.symmetry import symmetry_group
from tests.jobs import write_job

Volume = npt.NDArray[np.float32]
GROUPS = ("C2", "C3", "C4", "C7", "D2", "D3", "T", "O", "I", "I1")
PLACES = np.array([[7.3, 1.1, 3.4], [-2.2, 8.5, -4.1], [1.5, -3.7, 9.6]])  # x, y, z, voxels from the centre
HEIGHTS, WIDTH = (1.0, 0.6, -0.4), 2.0


@dataclass(frozen=True)
class Grid:
    """Gaussians on a grid."""

    box: int

    def blobs(self, places: npt.NDArray[np.float64]) -> Volume:
        z, y, x = np.indices((self.box,) * 3) - self.box // 2
        density = np.zeros((self.box,) * 3)
        for height, (at_x, at_y, at_z) in zip(HEIGHTS, places, strict=True):
            density += height * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2 + (z - at_z) ** 2) / (2 * WIDTH**2))
        return density.astype(np.float32)

    def symmetric(self, group: str) -> Volume:
        copies = [self.blobs(turn.apply(PLACES)) for turn in symmetry_group(group)]
        mean: Volume = np.mean(copies, axis=0, dtype=np.float32)
        return mean


@pytest.mark.parametrize("group", GROUPS)
def test_each_operator_is_one_product(group: str) -> None:
    matrices = symmetry_group(group).as_matrix()
    cosets = cosets_of(matrices)
    products = np.array([h @ r for r in cosets.others for h in cosets.on_grid])
    assert len(products) == len(matrices)
    for matrix in matrices:
        assert np.abs(products - matrix).max(axis=(1, 2)).min() < 1e-9


@pytest.mark.parametrize("box", [40, 41])
@pytest.mark.parametrize("group", GROUPS)
def test_a_blob_gets_its_symmetric_copies(group: str, box: int) -> None:
    grid = Grid(box)
    wanted = grid.symmetric(group)
    found, told = averaged(grid.blobs(PLACES), wanted, group, cpu(2))
    assert told == f"averaged over {group}"
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()  # what splines make of a Gaussian


@pytest.mark.parametrize("group", ["C3", "D2"])
def test_averaging_is_linear_and_done_once(group: str) -> None:
    cosets = cosets_of(symmetry_group(group).as_matrix()[:, ::-1, ::-1])
    rng = np.random.default_rng(1)
    first, second = Grid(40).blobs(PLACES), rng.standard_normal((40, 40, 40)).astype(np.float32)
    both = average(first + 2 * second, cosets, 1)
    assert np.allclose(both, average(first, cosets, 1) + 2 * average(second, cosets, 1), atol=1e-5)
    once = average(first, cosets, 1)
    assert np.allclose(average(once, cosets, 1), once, atol=2e-3 * once.max())


def test_what_is_not_symmetric_stays_as_it_is() -> None:
    density = Grid(32).blobs(PLACES)
    for group, told in (("C1", "C1"), ("Q7", "not known here"), ("D2", "the half-map itself is not D2")):
        found, why = averaged(density, density, group, cpu(1))
        assert found is density
        assert why.startswith("kept: ")
        assert told in why


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(("group", "is_averaged"), [("D2", True), ("C1", False), ("D3", False)])
def test_the_call_knows_relions_point_group(tmp_path: Path, group: str, *, is_averaged: bool) -> None:
    half_map = Grid(32).symmetric("D2")
    files = write_job(tmp_path, density=half_map)
    sampling = files.previous("sampling")
    sampling.write_text(sampling.read_text().replace("C1", group))
    uneven = "do=r = R(d * (1 + 0.2 * np.linspace(-1, 1, 32, dtype=np.float32)))"
    chosen = resolve({"regularizer": "does", "gate_wait": 0.0}, ["symmetry=average", uneven], {}, None, tmp_path)
    record = run_job(files.request(chosen), lambda _: None)
    assert record.outcome == "regularized"
    told = record.treatment["symmetry"]
    assert told == f"averaged over {group}" if is_averaged else told.startswith("kept: ")
    result = read_map(files.result).density
    half_turn = np.roll(result[:, ::-1, ::-1], 1, (1, 2))
    assert np.allclose(half_turn, result, atol=0.01 * result.max()) is is_averaged


def test_the_point_group_is_read_where_it_is_told(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    name = parse_job_name(files.star)
    assert name is not None
    assert read_search_state(name, 0.0).point_group == "C1"
    sampling = files.previous("sampling")
    rows = sampling.read_text().splitlines(keepends=True)
    sampling.write_text("".join(row for row in rows if "SymmetryGroup" not in row))
    state = read_search_state(name, 0.0)
    assert (state.point_group, state.healpix_order) == (None, 4)
