"""Which regularizers were asked for: ``NAME``, ``NAME+NAME``, ``global=NAME,local=NAME``. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from extrecon.errors import UsageError

_GLOBAL, _LOCAL = "global", "local"
CHAIN = "+"


class Phases(NamedTuple):
    """A refinement's two phases.

    Attributes
    ----------
    in_global_search, in_local_search : the regularizer, or chain of them, of each; empty for none
    """

    in_global_search: str
    in_local_search: str

    def of_search(self, is_local: bool | None, *, always: bool = False) -> str:
        """Return what is used, empty for none; where the search is unknown, what local search has.

        Parameters
        ----------
        is_local : whether orientations are searched locally
        always : let a phase without a regularizer have the other's
        """
        here, there = self.in_local_search, self.in_global_search
        if is_local is False:
            here, there = there, here
        return here or (there if always else "")

    def chains(self) -> list[str]:
        """Return what either phase has, each once."""
        return [name for name in dict.fromkeys(self) if name]

    def names(self) -> list[str]:
        """Return every regularizer that is named, each once."""
        return list(dict.fromkeys(part for name in self.chains() for part in name.split(CHAIN)))


def read_phases(text: str) -> Phases:
    """Return what ``--regularizer`` asks for.

    Raises
    ------
    UsageError : it is none of the three forms.
    """
    if "=" not in text:
        return Phases("", _checked(text, text))
    told: dict[str, str] = {}
    for part in text.split(","):
        phase, given, name = part.partition("=")
        if not given or phase not in (_GLOBAL, _LOCAL) or phase in told:
            raise UsageError(
                f"--regularizer {text}: write NAME, NAME+NAME, or {_GLOBAL}=NAME,{_LOCAL}=NAME, each phase once."
            )
        told[phase] = _checked(name, text)
    return Phases(told.get(_GLOBAL, ""), told.get(_LOCAL, ""))


def settings_of_each(text: str, given: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return every regularizer that ``--regularizer`` names, and what of ``--set`` is its own.

    Raises
    ------
    UsageError : as `read_phases`.
    """
    names = read_phases(text).names()
    if len(names) == 1:
        return [(names[0], dict(given))]
    return [
        (name, {key.removeprefix(f"{name}."): given[key] for key in given if key.startswith(f"{name}.")})
        for name in names
    ]


def _checked(chain: str, text: str) -> str:
    if not all(chain.split(CHAIN)):
        raise UsageError(f"--regularizer {text}: a regularizer's name is missing.")
    return chain
