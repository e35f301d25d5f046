"""RELION's own options for one arm or for all: read, and refused where the comparison decides them itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from extrecon.compare.arms import RELIONS_OWN_PROGRAM, Arm
from extrecon.compare.dataset import refuse_spaces
from extrecon.errors import UsageError
from extrecon.maps.mask import MaskGrid, read_mask
from extrecon.maps.mrc import read_map
from extrecon.relion.first_mask import CORRECTED_FSC, SOLVENT_MASK

MASK_OPTIONS = (SOLVENT_MASK, "--solvent_mask2", "--lowpass_mask")
EXTERNAL = "--external_reconstruct"
_WITHOUT_GRIDDING = 4  # RELION's first version that reconstructs without gridding weights
_SAME_FOR_ALL = "all arms refine the same particles from the same start"
_DECIDED: Mapping[str, str] = {
    "--o": "give the comparison's --output",
    "--i": _SAME_FOR_ALL,
    "--ref": _SAME_FOR_ALL,
    "--ctf": _SAME_FOR_ALL,
    "--ctf_corrected_ref": _SAME_FOR_ALL,
    "--sym": _SAME_FOR_ALL,
    "--random_seed": "give the comparison's --seeds",
    "--healpix_order": "give the comparison's --healpix-order",
    "--auto_local_healpix_order": "give the comparison's --local-order",
    "--ini_high": "give the comparison's --ini-high",
    "--j": "give the comparison's --threads",
    "--auto_refine": "every run has it",
    "--split_random_halves": "every run has it",
    EXTERNAL: "every run has it that needs it",
    "--continue": "every run starts anew",
    "--blush": "RELION then makes no external reconstruction",
}


def checked_words(text: str, whose: str) -> tuple[str, ...]:
    """Return the words of some options for RELION.

    Parameters
    ----------
    text : as in a shell
    whose : that gave them, for sentences

    Raises
    ------
    UsageError : there are none, or the comparison itself decides one of them.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{whose}: '{text}' cannot be split into words: {error}.") from error
    if not words or not words[0].startswith("--"):
        raise UsageError(f"{whose}: RELION's options begin with --, but '{text}' does not.")
    for word in words:
        if word in _DECIDED:
            raise UsageError(f"{whose}: {word} cannot be given to RELION here: {_DECIDED[word]}.")
    return tuple(words)


@dataclass(frozen=True)
class Place:
    """Where RELION works, and the grid that its masks must lie on.

    Attributes
    ----------
    folder : where it starts
    like : a map on that grid
    """

    folder: Path
    like: Path


def with_relion_words(arms: Sequence[Arm], texts: Sequence[str], place: Place) -> list[Arm]:
    """Return the arms with the RELION options that were given for them as ``NAME=OPTIONS``.

    A mask's path counts from the working directory, or, if there is none, from where RELION works.

    Raises
    ------
    UsageError : no arm has that name, `checked_words` refuses the options, or a mask is not there.
    MapError : a mask does not lie on the particles' grid, or is no mask.
    """
    words: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, given, options = text.partition("=")
        if not given or name not in {arm.name for arm in arms}:
            known = ", ".join(arm.name for arm in arms)
            raise UsageError(f"--relion '{text}': must be ARM=OPTIONS, and the arms are {known}.")
        words[name] = (*words.get(name, ()), *checked_words(options, f"--relion for the arm '{name}'"))
    return [replace(arm, relion=_with_whole_paths(words.get(arm.name, ()), arm.name, place)) for arm in arms]


def for_all_arms(texts: Sequence[str], place: Place) -> tuple[str, ...]:
    """Return the RELION options that were given for all arms.

    Raises
    ------
    UsageError, MapError : as for `with_relion_words`.
    """
    words = tuple(word for text in texts for word in checked_words(text, "--relion-option"))
    return _with_whole_paths(words, "of --relion-option", place)


def with_own_maps(words: Sequence[str], command: str, version: str) -> list[str]:
    """Return a command of RELION by which a plain arm gets the maps that RELION makes by itself.

    From version 4 on its program for external calls iterates gridding weights and RELION itself does not, which
    with padding 1 makes worse maps (docs/reference/relion-versions.md): an arm too weak to be the one to beat.

    Parameters
    ----------
    command : what RELION calls for a reconstruction
    version : RELION's, such as 5.0.1; where it is unknown, the external call stays
    """
    major = version.partition(".")[0]
    leaves_it = command == RELIONS_OWN_PROGRAM and major.isdigit() and int(major) >= _WITHOUT_GRIDDING
    return [word for word in words if not (leaves_it and word == EXTERNAL)]


def replaced(own: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return options, those left out that come again later: RELION takes the last, and not all versions say so.

    Parameters
    ----------
    own, more : words, each option before its values
    """
    groups: dict[str, list[str]] = {}
    for option, *values in grouped([*own, *more]):
        groups.pop(option, None)
        groups[option] = values
    return [word for option, values in groups.items() for word in (option, *values)]


def masks_of(words: Sequence[str], folder: Path) -> list[Path]:
    """Return the masks that some options name, as RELION finds them from a folder."""
    named = [folder / values[0] for option, *values in grouped(words) if option in MASK_OPTIONS and values]
    return [path for path in named if path.is_file()]


def grouped(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield each option with its values."""
    group: list[str] = []
    for word in words:
        if word.startswith("--") and group:
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _with_whole_paths(words: Sequence[str], name: str, place: Place) -> tuple[str, ...]:
    told: list[str] = []
    for group in grouped(words):
        if group[0] in MASK_OPTIONS:
            if len(group) != 2:
                raise UsageError(f"The arm '{name}': {group[0]} needs the path of a mask.")
            group[1] = str(_mask(group[1], name, place))
        told += group
    if CORRECTED_FSC in told and SOLVENT_MASK not in told:
        raise UsageError(f"The arm '{name}': {CORRECTED_FSC} corrects for a mask, so give {SOLVENT_MASK} as well.")
    return tuple(told)


def _mask(text: str, name: str, place: Place) -> Path:
    found = [path.resolve() for path in (Path(text), place.folder / text) if path.is_file()]
    if not found:
        raise UsageError(f"The arm '{name}': there is no mask {text}, neither here nor in {place.folder}.")
    refuse_spaces(found[0])
    like = read_map(place.like)
    read_mask(found[0], MaskGrid("the particles' image", like.box, like.pixel_size_angstrom))
    return found[0]
