"""Central slices of maps as grey PNG images for a page, plain and regularized on one scale.

A map is band-limited, so a slice is enlarged through its Fourier transform: exact between the voxels, where any
other interpolation would blur or leave steps.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from extrecon.maps.half_map import FloatArray

_LEAST_PIXELS = 360
"""Of a slice's edge: twice what a page shows of it."""
_PERCENTILES = (1.0, 99.8)
AXES = ("z", "y", "x")


def central_slices(density: FloatArray) -> list[npt.NDArray[np.float32]]:
    """Return the slices across z, y and x through voxel n // 2 of an (n, n, n) map, axes z, y, x; each (n, n)."""
    middle = len(density) // 2
    return [np.take(density, middle, axis).astype(np.float32) for axis in range(3)]


def grey_limits(slices: Sequence[FloatArray]) -> tuple[float, float]:
    """Return the densities to show as black and white, for slices that share one scale."""
    values = np.concatenate([part.ravel() for part in slices])
    black, white = np.percentile(values, _PERCENTILES)
    return float(black), float(max(white, black + 1e-30))


def enlarged(plane: FloatArray, least_pixels: int = _LEAST_PIXELS) -> npt.NDArray[np.float64]:
    """Return a slice, (n, n), on a grid finer by a whole factor, by padding its Fourier transform with zeros.

    The old values stand where they stood, at every factor-th pixel.
    """
    n = len(plane)
    factor = -(-least_pixels // n)
    if factor <= 1:
        return plane.astype(np.float64)
    size, half = factor * n, n // 2
    transform = np.fft.fftshift(np.fft.fft2(plane))
    if n % 2 == 0:  # the Nyquist terms stand for both signs
        transform = np.pad(transform, ((0, 1), (0, 1)))
        transform[-1] = transform[0]
        transform[:, -1] = transform[:, 0]
        transform[[0, -1]] *= 0.5
        transform[:, [0, -1]] *= 0.5
    padded = np.zeros((size, size), dtype=np.complex128)
    start = size // 2 - half
    padded[start : start + len(transform), start : start + len(transform)] = transform
    found: npt.NDArray[np.float64] = np.fft.ifft2(np.fft.ifftshift(padded)).real * factor**2
    return found


def grey_png(plane: FloatArray, limits: tuple[float, float]) -> bytes:
    """Return an (h, w) array as a PNG, its first row at the bottom, black and white at the limits."""
    black, white = limits
    scaled = np.clip((plane[::-1] - black) / (white - black), 0.0, 1.0)
    rows = np.round(255 * scaled).astype(np.uint8)
    height, width = rows.shape
    # Each row begins with its filter: 0, none.
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
