"""Which code an arm's regularizers are: a run of an edited one is another run."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from extrecon.compare.arms import Arm
from extrecon.errors import ExtreconError
from extrecon.regularizer import available


def regularizers_of(arm: Arm, working_directory: Path) -> dict[str, str]:
    """Return a hash of the source of each regularizer that the arm's hook uses, by name; empty where none is known.

    Parameters
    ----------
    working_directory : RELION's, where a configuration file may name them
    """
    if not arm.calls_hook:
        return {}
    try:
        names = arm.asks_hook_for(working_directory).phases.names()
    except ExtreconError:  # whatever is wrong, the hook itself will say
        return {}
    found = available()
    return {name: _source_hash(found[name].module) for name in names if name in found}


def _source_hash(module: str) -> str:
    """Return the hash of a module's file or, where it lies in a package, of all source beside and below it."""
    told = hashlib.sha256()
    for path in _sources(module):
        told.update(path.read_bytes())
    return told.hexdigest()


def _sources(module: str) -> list[Path]:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return []
    origin = Path(spec.origin)
    return sorted(origin.parent.rglob("*.py")) if "." in module else [origin]
