"""What profile scaling takes for its reference, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from extrecon.errors import ExtreconError
from extrecon.maps import HalfMap, write_map
from extrecon_regularizers.profile.reference import reference_density

BOX, PIXEL = 16, 1.5
ORIGIN = (30.0, -6.0, 9.0)


def half_map() -> HalfMap:
    return HalfMap(np.random.default_rng(0).standard_normal((BOX,) * 3).astype(np.float32), PIXEL, ORIGIN)


def written(path: Path, density: np.ndarray, pixel: float = PIXEL) -> str:
    write_map(path, HalfMap(density.astype(np.float32), pixel))
    return str(path)


def one_atom(path: Path, place: tuple[float, float, float]) -> str:
    structure, model, chain, residue = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A"), gemmi.Residue()
    residue.name, residue.seqid = "ALA", gemmi.SeqId("1")
    atom = gemmi.Atom()
    atom.name, atom.element, atom.pos, atom.b_iso = "CA", gemmi.Element("C"), gemmi.Position(*place), 40.0
    residue.add_atom(atom)
    chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.write_pdb(str(path))
    return str(path)


def test_a_map_is_taken_as_it_is(tmp_path: Path) -> None:
    given = np.random.default_rng(1).standard_normal((BOX,) * 3)
    path = written(tmp_path / "reference.mrc", given)
    density, told, notes = reference_density(path, "", half_map())
    assert np.array_equal(density, given.astype(np.float32))
    assert (told, notes) == (f"map {path}", [])


def test_an_atom_stands_where_the_maps_origin_puts_it(tmp_path: Path) -> None:
    """At voxel (x, y, z) = (9, 4, 11), that is at origin + voxel × pixel size."""
    voxel = np.array([9, 4, 11])
    x, y, z = np.array(ORIGIN) + voxel * PIXEL
    path = one_atom(tmp_path / "atom.pdb", (x, y, z))
    density, told, notes = reference_density("", path, half_map())
    assert np.unravel_index(int(density.argmax()), density.shape) == tuple(voxel[::-1])
    assert (told, notes) == (f"model {path}", [])


def test_a_reference_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal
    right = written(tmp_path / "right.mrc", noise((BOX,) * 3))
    small = written(tmp_path / "small.mrc", noise((12,) * 3))
    coarse = written(tmp_path / "coarse.mrc", noise((BOX,) * 3), 2 * PIXEL)
    constant = written(tmp_path / "constant.mrc", np.full((BOX,) * 3, 0.25))
    far = one_atom(tmp_path / "far.pdb", (500.0, 0.0, 0.0))
    for map_path, model_path, told in (
        (right, far, "Give a reference map or a model, not both"),
        (small, "", "12³ voxels, but the map is 16³"),
        (coarse, "", "has 3 Å/px, but the map has 1.5 Å/px"),
        (constant, "", "is constant"),
        ("", far, "no atom lies in the map"),
        ("", right, "not a readable PDB or mmCIF file"),
    ):
        with pytest.raises(ExtreconError, match=told):
            reference_density(map_path, model_path, half_map())
