"""The MAP term: tau² in the weights, and how it damps the map (Scheres, J. Struct. Biol. 180, 519, 2012)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from extrecon.fourier.compute import Array, Compute
from extrecon.reconstruction.grid import (
    Accumulators,
    Geometry,
    frequencies,
    over_window,
    shell_of_square,
    slab_of_squares,
    window,
)

SMALLEST_WEIGHT = 1e-20
# What the MAP term may add at most: far beyond what any data weighs, and a grid's sum of it is still a number.
LARGEST_MAP_TERM = 1e280


def weights_with_map_term(
    accumulators: Accumulators,
    tau2: npt.NDArray[np.float64] | None,
    tau2_fudge: float,
    geometry: Geometry,
    compute: Compute,
) -> Callable[[slice], Array]:
    """Return what reads planes of the window's weights and adds the MAP term; float64, 0 at and beyond R."""
    xp = compute.xp
    axes = frequencies(geometry, compute)
    term = None if tau2 is None else map_term(tau2, tau2_fudge, geometry)
    some_shell_is_empty = term is not None and bool((term < 0).any())
    term_on_device = None if term is None else compute.to_device(term)

    def planes_of(slab: slice) -> Array:
        # Where the sum falls steeply, gridding feels the last digits of the large weights in the small ones.
        weight = xp.astype(window(accumulators.weight, geometry, slab, compute), xp.float64)
        k2 = slab_of_squares(axes, slab)
        if term_on_device is not None:
            added = term_on_device[xp.clip(k2, None, geometry.radius**2 - 1)]
            if some_shell_is_empty:
                held = 1.0 / (0.001 * xp.clip(weight, SMALLEST_WEIGHT, None))
                added = xp.where(added < 0, xp.where(weight > SMALLEST_WEIGHT, held, 0.0), added)
            weight = weight + added
        return xp.where(k2 < geometry.radius**2, weight, 0.0)

    return planes_of


def map_term(tau2: npt.NDArray[np.float64], tau2_fudge: float, geometry: Geometry) -> npt.NDArray[np.float64]:
    """Return what the MAP term adds to the weight at each squared radius below R²; −1 where tau2 is 0.

    RELION's own program divides by as little as comes, and gives NaN where that overflows. Here so little signal
    empties its shell, as a little more does.
    """
    shell = shell_of_square(geometry, offset=0.5)
    known = np.zeros(shell[-1] + 1)
    known[: tau2.size] = tau2[: known.size]
    with np.errstate(over="ignore"):  # so much signal adds nothing to the weight
        signal = geometry.volume_factor * tau2_fudge * known
    signal = np.maximum(signal, 1.0 / LARGEST_MAP_TERM)
    per_shell = np.divide(1.0, signal, out=np.full(known.size, -1.0), where=known > 0)
    by_square: npt.NDArray[np.float64] = per_shell[shell]
    return by_square


def map_damping(
    accumulators: Accumulators,
    geometry: Geometry,
    *,
    tau2: npt.NDArray[np.float64],
    tau2_fudge: float,
    compute: Compute,
) -> npt.NDArray[np.float64]:
    """Return by how much the MAP term damps each shell of the map, on average, (n // 2 + 1,): W / (W + 1 / tau2).

    Parameters
    ----------
    accumulators : the weights W alone are read
    geometry, tau2, tau2_fudge, compute : as in `reconstruct`

    Returns
    -------
    0 to 1; 0 beyond what the images reach
    """
    xp = compute.xp
    axes = frequencies(geometry, compute)
    term = compute.to_device(np.maximum(map_term(tau2, tau2_fudge, geometry), 0.0))
    shell_at = compute.to_device(shell_of_square(geometry, offset=0.5))
    shells = geometry.original_size // 2 + 1
    sums: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []

    def add_up(slab: slice) -> None:
        weight = window(accumulators.weight, geometry, slab, compute)
        k2 = slab_of_squares(axes, slab)
        counted = (k2 < geometry.radius**2) & (weight > 0)
        here = xp.astype(weight[counted], xp.float64)
        shell = shell_at[k2[counted]]
        kept = xp.bincount(shell, weights=here / (here + term[k2[counted]]), minlength=shells)
        found = xp.bincount(shell, minlength=shells)
        sums.append((compute.to_numpy(kept)[:shells], compute.to_numpy(found)[:shells]))

    over_window(add_up, geometry, compute)
    total = np.sum([kept for kept, _ in sums], axis=0)
    count = np.sum([found for _, found in sums], axis=0)
    damping: npt.NDArray[np.float64] = np.divide(total, count, out=np.zeros(shells), where=count > 0)
    return damping
