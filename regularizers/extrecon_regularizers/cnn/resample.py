"""Another number of voxels for the same box, by cropping or padding the Fourier transform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

from extrecon.maps.half_map import FloatArray


def resampled(density: FloatArray, box: int, threads: int = 1) -> npt.NDArray[np.float32]:
    """Return the map on ``box``³ voxels that fill the same cube; what lies at voxel ``n // 2`` stays in the middle.

    Values keep their scale. Frequencies at and beyond the coarser grid's Nyquist are left out, so that going to
    more voxels and back gives the map without its Nyquist planes.

    Parameters
    ----------
    density : (n, n, n) array, axes z, y, x
    box : m, edge of the result in voxels
    threads : for the transforms
    """
    n = len(density)
    if n == box:
        return np.asarray(density, dtype=np.float32)
    reach = (min(n, box) - 1) // 2
    values = np.fft.ifftshift(np.asarray(density, dtype=np.float32))
    spectrum = scipy.fft.rfftn(values, workers=threads)
    kept = np.zeros((box, box, box // 2 + 1), dtype=spectrum.dtype)
    low, high = slice(0, reach + 1), slice(-reach, None)
    for z in (low, high):
        for y in (low, high):
            kept[z, y, : reach + 1] = spectrum[z, y, : reach + 1]
    kept *= (box / n) ** 3
    real = scipy.fft.irfftn(kept, s=(box, box, box), workers=threads)
    return np.fft.fftshift(real).astype(np.float32, copy=False)
