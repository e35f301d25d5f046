"""The confidence mask by itself, as a regularizer."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from extrecon.errors import RegularizerError
from extrecon.fourier.edges import falling_edge
from extrecon.fourier.masks import distance_px
from extrecon.maps import HalfMap
from extrecon.regularizer import Context, Regularized, Regularizer, Treatment
from extrecon_regularizers.profile.confidence import CONFIDENCE, confidence_map

_EDGE_PX = 4.0


class FdrMask(Regularizer):
    """Flatten what does not rise above the noise at a false discovery rate of 1 % (Beckers et al., IUCrJ 6, 18)."""

    name: ClassVar[str] = "fdr-mask"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = (
        "Flattens what does not rise above the noise (false discovery rate 1 %); writes the mask"
    )
    treatment: ClassVar[Treatment] = Treatment(solvent="flatten")
    treatment_inside_refinement: ClassVar[Treatment] = treatment

    def memory_bytes(self, box: int) -> int:
        """Return what was measured, rounded up."""
        return 55 * box**3

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:  # noqa: ARG002
        """Return ``half_map``, the mask with a soft edge outside of which its solvent is flattened, and both maps.

        Raises
        ------
        RegularizerError : nothing rises above the noise, or the map's rim is constant.
        """
        confidence = confidence_map(half_map.density)
        core = confidence >= CONFIDENCE
        if not core.any():
            raise RegularizerError(
                f"No voxel reaches a confidence of {CONFIDENCE:g}: nothing rises above the noise."
            )
        mask = falling_edge(distance_px(~core) / _EDGE_PX).astype(np.float32)
        facts = {"confident_share": round(float(core.mean()), 5)}
        return Regularized(half_map.density, facts, {"confidence": confidence, "mask": mask}, mask=mask)
