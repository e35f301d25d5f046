"""The average radial profiles of real structures."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

KINDS = ("mixed", "helix", "sheet", "dna", "rna")
_FILE = "average_profiles.json"

Values = npt.NDArray[np.float64]


@cache
def _told() -> tuple[Values, dict[str, Values]]:
    """Return the frequencies, 1/Å, and the logarithm of each kind's profile."""
    told = json.loads((files(__package__) / _FILE).read_text(encoding="utf-8"))
    profiles = {kind: np.log(np.asarray(found["mean"])) for kind, found in told["kinds"].items()}
    return np.asarray(told["frequency_per_angstrom"]), profiles


def average_profile(kind: str, frequency_per_angstrom: Values) -> Values:
    """Return the average amplitude of a kind of structure without B factors, over √Σf².

    Beyond the measured range it is that of the range's end. This folder's README tells how it was measured.

    Parameters
    ----------
    kind : one of `KINDS`
    frequency_per_angstrom : (m,) spatial frequencies, 1/Å
    """
    known, profiles = _told()
    return np.asarray(np.exp(np.interp(frequency_per_angstrom, known, profiles[kind])))
