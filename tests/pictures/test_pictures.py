"""Pictures: what they show is right, and they are written whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from extrecon.errors import OutputError
from extrecon.maps import HalfMap
from extrecon.pictures.maps import coloured_slice, draw_regularized, local_of

PNG = b"\x89PNG\r\n\x1a\n"
BOX = 24


def noise(seed: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((BOX,) * 3).astype(np.float32)


def test_brightness_is_density_and_grey_is_unknown() -> None:
    density = np.array([[0.0, 1.0], [2.0, -1.0]])
    grey = coloured_slice(density, None, (3.0, 6.0), 2.0)
    assert np.allclose(grey[..., 0].ravel(), [0.0, 0.5, 1.0, 0.0])
    resolution = np.array([[0.0, 3.0], [6.0, 0.0]])
    image = coloured_slice(density, resolution, (3.0, 6.0), 2.0)
    assert np.allclose(image[0, 0], 0)
    assert np.ptp(image[0, 1]) > 0
    assert not np.allclose(image[0, 1] / image[0, 1].max(), image[1, 0] / image[1, 0].max())


CURVES = {
    "before": np.array([[0.0, 0.1, 0.2], [3.0, 1.0, 0.0]]),
    "after": np.array([[0.0, 0.1, 0.2], [3.0, 2.0, 1.0]]),
}


@pytest.mark.parametrize("curves", [{}, CURVES])
@pytest.mark.parametrize("name", ["local_resolution", "local_b", "confidence", "unknown"])
def test_writes_one_png(name: str, curves: dict[str, np.ndarray], tmp_path: Path) -> None:
    before = HalfMap(noise(), 2.0)
    maps = {name: np.where(noise(2) > 0, 5.0 + noise(3), 0.0)}
    draw_regularized(tmp_path / "map.png", before, 2 * noise(), local_of(maps), curves)
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"]
    assert (tmp_path / "map.png").read_bytes().startswith(PNG)


def test_the_local_resolution_colours_first_and_a_map_of_zeros_not_at_all() -> None:
    some = np.ones((2, 2, 2))
    chosen = local_of({"local_b": some, "r_squared": some, "local_resolution": 2 * some})
    assert chosen is not None
    assert chosen.label == "local resolution, Å"
    assert chosen.known.tolist() == [2.0] * 8
    assert local_of({"r_squared": some, "local_b": 0 * some}) is None


def test_uniform_resolution_and_an_empty_shell_can_be_drawn(tmp_path: Path) -> None:
    before = HalfMap(noise(), 2.0)
    uniform = local_of({"local_resolution": np.full((BOX,) * 3, 5.0)})
    draw_regularized(tmp_path / "map.png", before, np.zeros_like(noise()), uniform)
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        draw_regularized(tmp_path / "nowhere" / "map.png", HalfMap(noise(), 2.0), noise())


def test_matplotlib_waits_until_a_picture_is_drawn() -> None:
    program = "import sys, extrecon.pictures.maps; print('matplotlib' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
