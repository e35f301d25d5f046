"""The hook as RELION calls it when its user has chosen nothing: twice at once, without options."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from extrecon.fourier.compute import cpu
from extrecon.fourier.shells import Shells, fourier_shell_correlation
from extrecon.maps import read_map
from extrecon.options import resolve
from extrecon_regularizers.cnn.weights import SHIPPED_SHA256
from tests.daemon.conftest import finish, record, start_hook
from tests.jobs import blobs, write_job

BOX, NOISE = 48, 0.4
Volume = npt.NDArray[np.floating]


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXTRECON_REGULARIZER")


def test_it_is_the_denoiser(tmp_path: Path) -> None:
    assert resolve({}, [], {}, None, tmp_path).text("regularizer") == "cnn"


def test_two_halves_without_options_come_nearer_to_the_truth(tmp_path: Path) -> None:
    truth = blobs(BOX)
    shells = Shells(BOX, cpu(1))
    halves = [truth + NOISE * truth.std() * np.random.default_rng(half).normal(size=truth.shape) for half in (1, 2)]
    first, second = (shells.spectrum(each) for each in halves)
    fsc = np.clip(fourier_shell_correlation(first, second, shells), 0.0, 1.0)
    files = [
        write_job(tmp_path, name=f"run_it005_half{half}_class001", density=density.astype(np.float32), fsc=fsc)
        for half, density in enumerate(halves, 1)
    ]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    for process in [start_hook(each, env=environ) for each in files]:
        assert "regularized with cnn" in finish(process)
    for each in files:
        told = record(each)
        assert (told["outcome"], told["warnings"]) == ("regularized", [])
        assert told["facts"]["weights_sha256"] == SHIPPED_SHA256
        assert told["other_half"]["crossed"] == "one number a shell"
        plain, result = (read_map(path).density for path in (each.beside("_plain.mrc"), each.result))
        assert _unlike(result, truth) < 0.8 * _unlike(plain, truth)


def _unlike(density: Volume, truth: Volume) -> float:
    return float(1 - np.corrcoef(density.ravel(), truth.ravel())[0, 1])
