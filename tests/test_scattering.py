"""Scattering maps do not depend on the box they are laid in."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from extrecon.atoms.scattering import centre, scattering_map


def two_atoms() -> gemmi.Structure:
    """A carbon and a nitrogen, 3 Å apart along x."""
    residue = gemmi.Residue()
    residue.name, residue.seqid = "UNL", gemmi.SeqId("1")
    for symbol, x in (("C", 0.0), ("N", 3.0)):
        atom = gemmi.Atom()
        atom.element, atom.pos, atom.b_iso = gemmi.Element(symbol), gemmi.Position(x, 0, 0), 20.0
        residue.add_atom(atom)
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    found = gemmi.Structure()
    found.add_model(model)
    return found


@pytest.mark.parametrize("box", [44, 52, 56, 68])  # twice these are no products of 2, 3 and 5
def test_any_even_box_holds_the_same_map(box: int) -> None:
    def laid(edge: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        found = two_atoms()
        centre(found, edge, 1.0)
        whole = scattering_map(found, edge, 1.0)
        start = edge // 2 - 12
        return whole[(slice(start, start + 24),) * 3]

    wanted = laid(48)
    assert np.abs(laid(box) - wanted).max() < 0.02 * wanted.max()
