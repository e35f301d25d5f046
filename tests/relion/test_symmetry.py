"""RELION's point groups, against RELION's own list of operators."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest

from extrecon.errors import UsageError
from extrecon.relion.symmetry import symmetry_group


@pytest.mark.relion
@pytest.mark.usefixtures("relion_programs")
@pytest.mark.parametrize("name", ["C1", "C4", "D2", "D3", "T", "O", "I", "I1", "I2"])
def test_the_operators_are_relions(name: str) -> None:
    ran = subprocess.run(
        ["relion_refine", "--sym", name, "--print_symmetry_ops"], capture_output=True, text=True, check=False
    )
    rows = re.findall(r"R\(\d+\)=\s*\n((?:\s*(?:-?[\d.e-]+\s+){3}\n?){3})", ran.stdout)
    relion = np.array([np.fromstring(row, sep=" ").reshape(3, 3) for row in rows])
    ours = symmetry_group(name).as_matrix()
    assert len(ours) == len(relion)
    for matrix in relion:
        assert np.abs(ours - matrix).max(axis=(1, 2)).min() < 2e-4


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(UsageError, match="'Q7' is unknown"):
        symmetry_group("Q7")
