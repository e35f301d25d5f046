"""A regularizer's density as it is handed on, the safeguards apart."""

from __future__ import annotations

from typing import Any

from extrecon.call.regularizing import regularize_and_treat
from extrecon.call.treatment import Wishes
from extrecon.maps import HalfMap
from extrecon.record import Record
from extrecon.regularizer import Context, Regularized, Regularizer


def treated(
    regularizer: Regularizer, half_map: HalfMap, context: Context, **wishes: str
) -> tuple[Regularized, dict[str, Any]]:
    """Return what the regularizer made, treated as declared or wished, and what the record tells of that."""
    record = Record(input="")
    found = regularize_and_treat(half_map, regularizer, context, Wishes(**wishes), seed=1, record=record)
    return found, record.treatment
