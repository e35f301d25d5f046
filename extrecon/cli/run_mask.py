"""``extrecon run --mask-each-iteration``: RELION is started with a mask that the hook may draw anew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from extrecon.errors import UsageError
from extrecon.relion.names import MADE_MASK

_HINT = "give RELION --solvent_mask and --solvent_correct_fsc yourself (`extrecon mask` makes a mask)"


def with_mask(words: Sequence[str]) -> list[str]:
    """Return RELION's command with a mask that follows the refinement, and write the first one.

    A run that is continued keeps the mask it has, if it began like this.

    Raises
    ------
    UsageError : the command has a mask of its own, is one shell line, or does not tell what the mask needs.
    MapError : the reference cannot be read.
    """
    from extrecon.maps import read_map
    from extrecon.relion.first_mask import CORRECTED_FSC, SOLVENT_MASK, mask_words, write_first_mask

    given = dict(reversed([*pairwise(words)]))
    mask = given.get(SOLVENT_MASK)
    if mask is not None and not (mask.endswith(MADE_MASK) and Path(mask).is_file()):
        raise UsageError(
            f"--mask-each-iteration draws the mask by itself, but the command has {SOLVENT_MASK} {mask}: leave one "
            "of the two out."
        )
    if "--continue" in given:
        _check_continued(Path(given["--continue"]), mask)
        return list(words)
    missing = [option for option in ("--o", "--ref") if option not in given]
    if missing:
        raise UsageError(
            f"--mask-each-iteration needs {' and '.join(missing)} as words of the command: {_HINT} instead."
        )
    if mask is not None:
        return [*words, *([] if CORRECTED_FSC in words else [CORRECTED_FSC])]
    reference = read_map(Path(given["--ref"]))
    pixel = _number(given, "--angpix") or reference.pixel_size_angstrom
    added = mask_words(given["--o"])
    folder = Path(added[1]).parent
    if not folder.is_dir():
        raise UsageError(
            f"--o {given['--o']}: there is no folder {folder}, which RELION needs as well: make it first."
        )
    write_first_mask(Path(added[1]), reference.box, pixel, _number(given, "--particle_diameter"))
    return [*words, *(word for word in added if word not in words)]


def _check_continued(optimiser: Path, mask: str | None) -> None:
    from extrecon.relion.search import solvent_mask_of

    known = mask or solvent_mask_of(optimiser)
    if known is None or not known.endswith(MADE_MASK):
        raise UsageError(
            f"{optimiser}: this run has {known or 'no solvent mask'}, so --mask-each-iteration can draw none anew: "
            f"{_HINT}."
        )


def _number(given: dict[str, str], option: str) -> float | None:
    word = given.get(option)
    try:
        value = float(word) if word is not None else 0.0
    except ValueError:
        raise UsageError(f"{option} is '{word}', but must be a number.") from None
    return value if value > 0 else None
