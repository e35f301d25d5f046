"""The density weighed against the half-map's Fourier data, within one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import extrecon
from extrecon.call.data_step import error_by_fsc
from extrecon.call.pipeline import run_job
from extrecon.fourier.compute import cpu
from extrecon.fourier.shells import Shells, power
from extrecon.maps import read_map
from extrecon.options import resolve
from extrecon.record import Record
from tests.jobs import BOX, PIXEL_SIZE, JobFiles, noisy_blobs, write_job

pytestmark = pytest.mark.usefixtures("plugins")
FSC = np.where(np.arange(BOX // 2 + 1) < 9, np.linspace(1.0, 0.1, BOX // 2 + 1), 0.0)
SHELLS = Shells(BOX, cpu(1))


def run(folder: Path, *set_: str, **flags: Any) -> tuple[Record, JobFiles]:
    files = write_job(folder, density=noisy_blobs(), fsc=FSC)
    options = resolve({"gate_wait": 0.0, "regularizer": "smooth", **flags}, set_, {}, None, folder)
    return run_job(files.request(options), lambda _: None), files


def test_the_result_lies_between_the_density_and_the_data(tmp_path: Path) -> None:
    ignored, first = run(tmp_path / "ignored", "sigma=1.5")
    consistent, second = run(tmp_path / "consistent", "sigma=1.5", "data=consistent")
    assert ignored.outcome == consistent.outcome == "regularized"
    assert "data" not in ignored.treatment
    assert consistent.treatment["data"] == "consistent, by the half-map FSC"
    assert consistent.seconds["data"] > 0
    plain = SHELLS.spectrum(read_map(second.beside("_plain.mrc")).density)
    without, with_data = (SHELLS.spectrum(read_map(files.result).density) for files in (first, second))
    before, after = power(without - plain, SHELLS), power(with_data - plain, SHELLS)
    assert (after[3:7] < 0.95 * before[3:7]).all()
    assert (after[3:7] > 0.01 * before[3:7]).all()


def test_the_fscs_cut_off_is_kept(tmp_path: Path) -> None:
    record, files = run(tmp_path, "sigma=1.5", "data=consistent")
    assert record.safeguards["fsc_cutoff"] == 8
    found = power(SHELLS.spectrum(read_map(files.result).density), SHELLS)
    assert found[10:].max() < 1e-10 * found.max()
    assert found[7] > 1e-6 * found.max()


def test_outside_refinement_there_are_no_data_and_it_is_told() -> None:
    found = extrecon.regularize(
        noisy_blobs(), "smooth", pixel_size=PIXEL_SIZE, fsc=FSC, settings={"data": "consistent"}
    )
    assert "there are no Fourier data outside refinement" in found.facts["treatment"]["data"]


def test_without_an_fsc_it_is_left_out_and_told(tmp_path: Path) -> None:
    files = write_job(tmp_path, tau2=False)
    options = resolve({"gate_wait": 0.0, "regularizer": "smooth"}, ("data=consistent",), {}, None, tmp_path)
    record = run_job(files.request(options), lambda _: None)
    assert record.outcome == "regularized"
    assert "neither the other half nor an FSC" in record.treatment["data"]


def test_the_error_by_the_fsc_is_that_of_the_mean_of_both_halves() -> None:
    rng = np.random.default_rng(4)
    truth, *noise = rng.standard_normal((3, 48, 48, 48)).astype(np.float32)
    first, second = (truth + np.float32(1.3) * grain for grain in noise)
    shells = Shells(48, cpu(1))
    fsc = np.full(25, 1 / (1 + 1.3**2))
    wiener = np.float32(2 * fsc[0] / (1 + fsc[0])) * (first + second) / 2
    measured = power(shells.spectrum(truth - wiener), shells) / shells.points()
    assert error_by_fsc(first, fsc, cpu(1))[4:] == pytest.approx(measured[4:], rel=0.1)


def test_a_regularizer_sees_the_data(tmp_path: Path) -> None:
    code = (
        "w = c.data.weight(); a = c.data.accumulators.data_real(); "
        "assert w.shape == (24, 24, 13) and np.allclose(w[:5, :5, :5], 100), w.shape; "
        "assert a.shape == (48, 48, 25), a.shape; assert c.data.tau2.shape == (13,); "
        "assert np.allclose(c.data.noise_power()[1:8], 1 / 800); r = R(d)"
    )
    record, _ = run(tmp_path, f"do={code}", regularizer="does")
    assert record.outcome == "regularized", record.reason
