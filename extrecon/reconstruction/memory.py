"""How much memory a reconstruction takes, told by its sizes.

Two stages count. While sampling weights are evened out for the first time, a transform in double precision lies
beside them; when the map is made, what is transformed along one axis lies beside them, and the map.
"""

from __future__ import annotations

from extrecon.fourier.compute import CPU_SLAB_BYTES
from extrecon.reconstruction.grid import Geometry

_SLABS = 4
"""Arrays of the size of a slab that a thread works with."""


def reconstruction_bytes(geometry: Geometry, threads: int) -> int:
    """Return the peak of what `reconstruct` takes on the CPU, bytes."""
    planes, size, half = geometry.window_shape
    n, thick = geometry.original_size, geometry.original_size if geometry.dimensions == 3 else 1
    weights = 4 * planes * size * half
    evening = weights + 16 * planes * half * half
    making = weights + 8 * planes * n * geometry.radius + 4 * thick * n * n
    slab = max(CPU_SLAB_BYTES, 16 * size * half)
    return max(evening, making) + _SLABS * threads * slab
