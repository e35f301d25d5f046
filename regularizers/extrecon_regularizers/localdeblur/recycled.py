"""Applying a linear operator to a sequence of slowly changing volumes."""

from __future__ import annotations

import numpy as np

from extrecon.fourier.compute import Array
from extrecon.fourier.filter_bank import FilterBank

_KEPT = 2


class Recycled:
    """A filter bank that remembers its last two volumes and what they became.

    A new volume is split into the combination of the remembered ones that comes nearest to it, whose image is
    known, and a remainder. Only the remainder is filtered, and with so few terms of the bank that the error stays
    within ``error``: the smaller the remainder, the cheaper.

    Parameters
    ----------
    bank : the operator
    error : largest norm of the error of one image
    """

    def __init__(self, bank: FilterBank, error: float) -> None:
        self._bank, self.error = bank, error
        self._known: list[tuple[Array, Array]] = []
        self.terms_used: list[int] = []

    def __call__(self, block: Array) -> Array:
        """Return H ``block`` on the bank's block."""
        shares = self._nearest(block)
        remainder = block
        for share, (volume, _) in zip(shares, self._known, strict=True):
            remainder = remainder - share * volume
        size = norm(self._bank, remainder)
        terms = self._bank.terms_for(self.error / size if size else np.inf)
        image = self._bank.apply(remainder, terms)
        for share, (_, known) in zip(shares, self._known, strict=True):
            image = image + share * known
        self._known = [*self._known[1 - _KEPT :], (block, image)]
        self.terms_used.append(terms)
        return image

    def _nearest(self, block: Array) -> list[float]:
        """Return the least-squares shares of the remembered volumes in ``block``."""
        if not self._known:
            return []
        volumes = [volume for volume, _ in self._known]
        gram = np.array([[self._dot(a, b) for a in volumes] for b in volumes])
        right = np.array([self._dot(a, block) for a in volumes])
        return [float(share) for share in np.linalg.lstsq(gram, right, rcond=1e-10)[0]]

    def _dot(self, a: Array, b: Array) -> float:
        return float(self._bank.compute.xp.sum(a * b, dtype=self._bank.compute.xp.float64))


def norm(bank: FilterBank, volume: Array) -> float:
    """Return the Euclidean norm of a device array, summed in double precision."""
    xp = bank.compute.xp
    return float(np.sqrt(float(xp.sum(volume * volume, dtype=xp.float64))))
