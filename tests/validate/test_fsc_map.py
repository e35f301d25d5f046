"""The FSC over Fourier space: where a wedge is noise, it alone is low; and the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.errors import UsageError
from extrecon.maps import read_map
from extrecon.validate.fsc_map import FSC_MAP, fsc_map

BOX = 32
DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo_data"


def test_a_cone_of_noise_is_seen_where_it_lies() -> None:
    rng = np.random.default_rng(2)
    signal = rng.standard_normal((BOX,) * 3)
    axis = np.fft.fftfreq(BOX) * BOX
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    in_cone = np.abs(z) > np.cos(np.radians(40)) * np.maximum(radius, 1e-9)
    noise = np.fft.fftn(rng.standard_normal((BOX,) * 3))
    second = np.fft.ifftn(np.where(in_cone, noise, np.fft.fftn(signal))).real
    found = fsc_map(signal, second)
    middle = BOX // 2
    assert found.shape == (BOX,) * 3
    assert abs(found[middle + 12, middle, middle]) < 0.3  # along z
    assert found[middle, middle + 12, middle] == pytest.approx(1.0, abs=1e-5)
    assert found[middle, middle, middle - 12] == pytest.approx(1.0, abs=1e-5)
    assert found[0, 0, 0] == 0  # beyond Nyquist
    pairs = found[1:, 1:, 1:]  # a point and its Friedel mate, but for the planes at Nyquist
    assert np.mean(np.abs(pairs - pairs[::-1, ::-1, ::-1]) > 1e-6) < 1e-3


def test_validate_writes_it(tmp_path: Path) -> None:
    words = ["validate", *(str(DEMO / f"half{half}.mrc") for half in (1, 2)), "--fsc-3d", "-o", str(tmp_path)]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    found = read_map(tmp_path / FSC_MAP).density
    middle = len(found) // 2
    assert found[middle, middle, middle] == 1
    assert found[middle, middle, middle + 3] > 0.9
    with pytest.raises(UsageError, match="two half-maps"):
        CliRunner().invoke(app, ["validate", words[1], "--fsc-3d", "-o", "x"], catch_exceptions=False)
