"""The regularizer that changes nothing: for testing the path through RELION, and as a template."""

from __future__ import annotations

from typing import ClassVar

from extrecon.maps import HalfMap
from extrecon.regularizer import Context, Regularized, Regularizer


class Identity(Regularizer):
    """Return the half-map as it is."""

    name: ClassVar[str] = "identity"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Returns the half-map unchanged"

    def memory_bytes(self, box: int) -> int:
        """Return what was measured, rounded up."""
        return 8 * box**3

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:  # noqa: ARG002
        """Return ``half_map``'s density."""
        return Regularized(half_map.density)
