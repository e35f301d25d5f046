"""The hook's command line. Standard library only."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from extrecon import __version__
from extrecon.errors import UsageError
from extrecon.options import OPTIONS, Options, resolve


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are `UsageError`s."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (extrecon-hook --help lists the options)")


def parse(arguments: Sequence[str], environ: Mapping[str, str], working_directory: Path) -> tuple[Path, Options]:
    """Return the STAR file and the effective options of a command line, without the program's name.

    Raises
    ------
    UsageError : an unknown option, a value of the wrong type, or a configuration file that cannot be used.
    """
    parsed = _parser().parse_args(arguments)
    return parsed.star, resolve(vars(parsed), parsed.set, environ, parsed.config, working_directory)


def parse_options(arguments: Sequence[str], environ: Mapping[str, str], working_directory: Path) -> Options:
    """Return the effective options of a command line that names no STAR file.

    Raises
    ------
    UsageError : as `parse`; or there is a word that is no option.
    """
    stray = "FILE.star"
    parsed, rest = _parser().parse_known_args([*arguments, stray])
    if rest or str(parsed.star) != stray:
        raise UsageError(f"'{rest[0] if rest else parsed.star}' is not one of the hook's options")
    return resolve(vars(parsed), parsed.set, environ, parsed.config, working_directory)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="extrecon-hook",
        description="Reconstruct one half-map for RELION and regularize it once orientations are searched locally.",
        epilog="Options may also come from EXTRECON_… variables, or from extrecon.toml in the working directory.",
    )
    parser.add_argument("star", type=Path, metavar="FILE.star", help="what RELION wrote; RELION appends it itself")
    for option in OPTIONS:
        shown = f"{option.help} [{option.default if option.default != '' else 'none'}]"
        if isinstance(option.default, bool):
            parser.add_argument(f"--{option.name}", action=argparse.BooleanOptionalAction, default=None, help=shown)
        else:
            metavar = option.metavar or "|".join(option.choices)
            parser.add_argument(f"--{option.name}", metavar=metavar, help=shown)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one of the regularizer's own parameters"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file [extrecon.toml]")
    parser.add_argument("--version", action="version", version=f"extrecon {__version__}")
    return parser
