"""A refinement's folder for tests of its report: real records and STAR files of tests/data, maps of the demo."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data" / "refinement"
DEMO = ROOT / "scripts" / "demo_data"
FINAL = ("run_model.star", "run_sampling.star")
LAST_SPLIT = "run_it011"
STEM = "external_reconstruct"


def write_refinement(folder: Path, *, root: str = "run", maps: bool = True) -> Path:
    """Write a finished refinement with its last maps; half 1's and half 2's are the demo's half-maps."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((DATA / "job").iterdir()):
        shutil.copy(path, folder / path.name.replace("run", root, 1))
    if maps:
        for half in (1, 2):
            for ending in ("", "_plain"):
                name = f"{root}_it011_half{half}_class001_{STEM}{ending}.mrc"
                shutil.copy(DEMO / f"half{half}.mrc", folder / name)
        for ending in ("", "_regularized"):
            shutil.copy(DEMO / "truth.mrc", folder / f"{root}_it012_class001_{STEM}{ending}.mrc")
    return folder


def unfinish(folder: Path, last: int) -> None:
    """Take away what RELION wrote after an iteration."""
    for path in folder.iterdir():
        number = path.name.partition("_it")[2][:3]
        if path.name in FINAL or (number.isdecimal() and int(number) > last):
            path.unlink()


def record_of(folder: Path, iteration: int, half: int | None) -> Path:
    """Return the path of a call's record."""
    part = f"_half{half}" if half else ""
    return next(folder.glob(f"*_it{iteration:03d}{part}_class001_{STEM}_extrecon.json"))


def change_record(folder: Path, iteration: int, half: int | None, **fields: Any) -> None:
    """Change fields of a call's record."""
    path = record_of(folder, iteration, half)
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
