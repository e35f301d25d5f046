"""Particles that no arm refines: which, and that the rest of the file stays letter by letter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from extrecon.compare.hold_out import drawn, hold_out
from extrecon.errors import UsageError
from extrecon.relion.particles import read_particles

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnImagePixelSize #3
_rlnImageSize #4
first 1 1.5 64
second 2 1.5 64

"""
FLAT_LABELS = (
    "_rlnImageName #1\n_rlnMicrographName #2\n_rlnOriginX #3\n_rlnOriginY #4\n_rlnMagnification #5\n"
    "_rlnDetectorPixelSize #6\n"
)
COUNT = 200


def new_style(path: Path) -> Path:
    """Write particles of two optics groups, eight micrographs, two half-sets of unequal size."""
    labels = "_rlnImageName #1\n_rlnOpticsGroup #2\n_rlnMicrographName #3\n_rlnRandomSubset #4\n"
    rows = [f"{i:06d}@a/b.mrcs\t{1 + (i % 10 < 3)} m{i % 8}.mrc  {1 + (i % 5 == 0)}" for i in range(1, COUNT + 1)]
    path.write_text(f"{OPTICS}\n# version 30001\n\ndata_particles\n\nloop_\n{labels}" + "\n".join(rows) + "\n\n")
    return path


def flat(path: Path) -> Path:
    """Write a table as RELION 3.0 does."""
    rows = [f"{i:06d}@a.mrcs m{i % 8}.mrc {i % 7 - 3:.3f} 2.0 40000.0 6.0" for i in range(1, COUNT + 1)]
    path.write_text("\ndata_\n\nloop_\n" + FLAT_LABELS + "\n".join(rows) + "\n \n")
    return path


def names(path: Path) -> list[str]:
    return read_particles(path).texts("rlnImageName") or []


@pytest.mark.parametrize("write", [new_style, flat])
def test_every_particle_is_on_one_side_and_its_line_is_untouched(write: object, tmp_path: Path) -> None:
    source = write(tmp_path / "all.star")  # type: ignore[operator]
    refined, held_out = hold_out(source, 0.1, tmp_path)
    assert len(names(held_out)) == COUNT // 10
    assert sorted(names(refined) + names(held_out)) == names(source)
    lines = source.read_text().split("\n")
    for part in (refined, held_out):
        left = part.read_text().split("\n")
        assert [line for line in left if "@" not in line] == [line for line in lines if "@" not in line]
        assert set(left) <= set(lines)


def test_the_draw_is_balanced_and_the_same_again(tmp_path: Path) -> None:
    particles = read_particles(new_style(tmp_path / "a.star"))
    chosen = drawn(particles, 0.2)
    assert np.array_equal(chosen, drawn(particles, 0.2))
    for label in ("rlnRandomSubset", "rlnOpticsGroup"):
        column = particles.texts(label) or []
        whole, some = Counter(column), Counter(np.array(column)[chosen])
        for value, count in whole.items():
            # Sorted by half-set first: within a particle there; groups lie in both half-sets, a particle each.
            assert abs(some[value] - 0.2 * count) <= 2, (label, value)
    places = np.flatnonzero(chosen)
    assert len(set(np.diff(places))) > 2  # not every fifth of the file


def test_too_few_are_refused(tmp_path: Path) -> None:
    source = new_style(tmp_path / "a.star")
    with pytest.raises(UsageError, match="of 200 particles leaves too few on one side: 0"):
        hold_out(source, 0.001, tmp_path)
