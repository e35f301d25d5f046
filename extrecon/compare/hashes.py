"""What files and facts are known again by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_of(told: Mapping[str, Any]) -> str:
    """Return the hash of facts that can be written as JSON, whatever their order."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
