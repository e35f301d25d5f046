"""The arms of a comparison: which program RELION calls for each reconstruction, and RELION's own options."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from extrecon.call.choice import check_choice
from extrecon.errors import ExtreconError, UsageError
from extrecon.options.command_line import parse_options
from extrecon.options.phases import Phases, read_phases
from extrecon.regularizer import available, load

PLAIN = "plain"
MASK_EACH_ITERATION = "--mask-each-iteration"
_LEAVES_MAPS = ["identity"]
RELIONS_OWN_PROGRAM = "relion_external_reconstruct"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class HookChoice(NamedTuple):
    """Which regularizers an arm's hook uses.

    Attributes
    ----------
    phases : the regularizers of either search
    apply : when they are applied, as ``--apply`` says
    """

    phases: Phases
    apply: str


@dataclass(frozen=True)
class Arm:
    """One way to reconstruct.

    Attributes
    ----------
    name : for people, and of the runs' folders
    command : what RELION calls, the STAR file's path being appended
    calls_hook : whether that is extrecon-hook, which leaves a record of each call
    relion : options of RELION's that this arm alone has
    made_mask : whether it refines under the mask that the comparison makes
    """

    name: str
    command: str
    calls_hook: bool
    relion: tuple[str, ...] = ()
    made_mask: bool = False

    @property
    def draws_mask(self) -> bool:
        """Whether RELION's mask is drawn anew in each iteration."""
        return self.calls_hook and MASK_EACH_ITERATION in shlex.split(self.command)

    @property
    def is_plain(self) -> bool:
        """Whether RELION's own program reconstructs."""
        return self.command == RELIONS_OWN_PROGRAM

    def asks_hook_for(self, working_directory: Path) -> HookChoice:
        """Return what the arm's command, the environment and a configuration file ask of the hook.

        Parameters
        ----------
        working_directory : RELION's, where a configuration file may hold the hook's options

        Raises
        ------
        UsageError : these cannot be read; the hook itself will say so too.
        """
        given = parse_options(shlex.split(self.command)[1:], os.environ, working_directory)
        return HookChoice(read_phases(given.text("regularizer")), given.text("apply"))

    def regularizes(self, working_directory: Path) -> bool:
        """Whether it may return other maps than RELION's own; the hook with `identity` alone does not."""
        if not self.calls_hook:
            return not self.is_plain
        try:
            asked = self.asks_hook_for(working_directory)
        except ExtreconError:
            return True
        return asked.apply != "never" and asked.phases.names() != _LEAVES_MAPS


def read_arms(texts: Sequence[str]) -> list[Arm]:
    """Return the arms that were asked for, in order.

    Raises
    ------
    UsageError : there is none, or two bear one name, or `read_arm` refuses one.
    """
    arms = [read_arm(text) for text in texts]
    names = [arm.name for arm in arms]
    if not arms:
        raise UsageError(f"Give at least one --arm: {PLAIN}, a regularizer ({_regularizers()}), or NAME=COMMAND.")
    double = [name for name in names if names.count(name) > 1]
    if double:
        raise UsageError(f"Two arms are called '{double[0]}'; give each a name of its own.")
    return arms


def read_arm(text: str) -> Arm:
    """Return an arm from what it was asked for with.

    That is ``plain``, a regularizer's name, ``NAME=`` with one of these, or with options of the hook or a command.

    Raises
    ------
    UsageError : the name is unknown or cannot be a folder's, or the command's program is not there.
    ExtreconError : the hook would refuse these options, or its regularizer its settings.
    """
    name, given, command = text.partition("=")
    if not _NAME.fullmatch(name):
        raise UsageError(f"An arm cannot be called '{name}': letters, digits and . _ + - make its folders' names.")
    if not given:
        return _known_arm(name, name)
    words = _split(text, command)
    if not words:
        raise UsageError(f"The arm '{name}=' has no command behind the sign.")
    if words == [PLAIN] or (len(words) == 1 and words[0] in available()):
        return _known_arm(name, words[0])
    if words[0].startswith("-"):
        check_choice(parse_options(words, os.environ, Path.cwd()), Path.cwd())
        return Arm(name, f"{shlex.quote(_hook())} {command.strip()}", calls_hook=True)
    if shutil.which(words[0]) is None:
        raise UsageError(f"The arm '{name}' calls {words[0]}, but no such program is on the PATH.")
    return Arm(name, command.strip(), calls_hook=Path(words[0]).name == "extrecon-hook")


def _known_arm(name: str, method: str) -> Arm:
    if method == PLAIN:
        return Arm(name, RELIONS_OWN_PROGRAM, calls_hook=False)
    if method not in available():
        raise UsageError(
            f"The arm '{name}' is neither {PLAIN} nor an installed regularizer ({_regularizers()}); "
            f"for a command of your own write {name}=COMMAND."
        )
    load(method)  # one that lacks a package would give plain maps, and be scored as if they were its own
    return Arm(name, f"{shlex.quote(_hook())} --regularizer {method}", calls_hook=True)


def _split(text: str, command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UsageError(f"The arm '{text}' cannot be split into words: {error}.") from error


def _hook() -> str:
    beside = shutil.which("extrecon-hook", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("extrecon-hook")
    if found is None:
        raise UsageError("extrecon-hook is not installed beside this Python; install extrecon again.")
    return found


def _regularizers() -> str:
    return ", ".join(available()) or "none"
