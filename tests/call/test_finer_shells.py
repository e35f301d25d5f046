"""The joined map's regularized form shows the plain map's own shells where the half-map FSC ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.call.finer_shells import with_finer_shells
from extrecon.call.pipeline import run_job
from extrecon.call.safeguards import CUTOFF_EDGE_SHELLS
from extrecon.fourier.compute import cpu
from extrecon.fourier.masks import soft_sphere
from extrecon.fourier.shells import Shells, power, soft_step
from extrecon.maps import read_map
from extrecon.options import resolve
from extrecon.record import Record
from extrecon.regularizer import Regularized
from tests.jobs import BOX, write_job

LAST = 6
SHELLS = Shells(BOX, cpu(1))
Volume = npt.NDArray[np.float32]


def grain(seed: int) -> Volume:
    return np.random.default_rng(seed).standard_normal((BOX,) * 3).astype(np.float32)


def cut(density: Volume) -> Volume:
    spectrum = SHELLS.spectrum(density)
    SHELLS.scale(spectrum, soft_step(SHELLS.count, LAST, CUTOFF_EDGE_SHELLS))
    return SHELLS.density(spectrum)


def record(last: Any = LAST) -> Record:
    found = Record("a.star")
    found.safeguards = {"fsc_cutoff": last}
    return found


def test_the_plain_map_that_was_cut_off_is_whole_again() -> None:
    plain, told = grain(1), record()
    assert np.allclose(with_finer_shells(Regularized(cut(plain)), plain, told, cpu(1)).density, plain, atol=1e-5)
    assert told.treatment == {"finer_shells": "the plain map's, times 1.000"}


@pytest.mark.parametrize(("strength", "factor"), [(0.3, 0.3), (1.0, 1.0), (4.0, 1.0)])
def test_beyond_the_cut_off_the_plain_map_goes_on_as_strong_as_the_regularized_one_but_no_stronger(
    strength: float, factor: float
) -> None:
    plain = grain(1)
    ours = np.float32(strength) * cut(plain + np.float32(0.01) * grain(2))
    found = SHELLS.spectrum(with_finer_shells(Regularized(ours), plain, record(), cpu(1)).density)
    for wanted, kept in ((ours, slice(0, LAST + 1)), (factor * plain, slice(LAST + CUTOFF_EDGE_SHELLS, None))):
        difference = power(found - SHELLS.spectrum(wanted), SHELLS)[kept]
        assert (difference < 1e-3 * factor**2 * power(SHELLS.spectrum(plain), SHELLS)[kept]).all()


def test_outside_the_mask_nothing_is_added() -> None:
    mask, told = soft_sphere(BOX, 6.0), record()
    given = Regularized(cut(grain(2)) * mask, mask=mask)
    found = with_finer_shells(given, grain(1), told, cpu(1)).density
    assert not found[mask == 0].any()
    assert (found - given.density)[mask == 1].std() > 0.5
    assert told.treatment["finer_shells"].startswith("the plain map's, within the mask")


@pytest.mark.parametrize("facts", [{"fsc_cutoff": "off"}, {"fsc_cutoff": "no FSC"}, {"unchanged": True}])
def test_what_was_not_cut_off_stays_as_it_is(facts: dict[str, Any]) -> None:
    told = record()
    told.safeguards = facts
    given = Regularized(grain(2))
    assert with_finer_shells(given, grain(1), told, cpu(1)) is given
    assert told.treatment == {}


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("name", "regularized", "plain", "goes_on"),
    [
        ("run_it005_half1_class001", ".mrc", "_plain.mrc", False),
        ("run_it005_class001", "_regularized.mrc", ".mrc", True),
    ],
)
def test_only_the_joined_map_goes_on_beyond_the_cut_off(
    tmp_path: Path, name: str, regularized: str, plain: str, goes_on: bool
) -> None:
    fsc = np.where(np.arange(BOX // 2 + 1) <= LAST, 1.0, 0.0)
    files = write_job(tmp_path, name=name, fsc=fsc)
    given = {"gate_wait": 0.0, "half_wait": 0.3, "regularizer": "smooth"}
    told = run_job(files.request(resolve(given, [], {}, None, tmp_path)), lambda _: None)
    ours, theirs = (SHELLS.spectrum(read_map(files.beside(suffix)).density) for suffix in (regularized, plain))
    beyond = slice(LAST + CUTOFF_EDGE_SHELLS, None)
    share = power(ours, SHELLS)[beyond].sum() / power(theirs, SHELLS)[beyond].sum()
    assert ("finer_shells" in told.treatment) == ("finer shells" in told.seconds) == goes_on
    assert 0.5 < share <= 1.0001 if goes_on else share < 1e-4
