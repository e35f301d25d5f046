"""The hook's command line. Standard library only."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from extrecon import __version__
from extrecon.errors import UsageError
from extrecon.options import OPTIONS, RELIONS_GPU, Options, resolve
from extrecon.options.split_path import files_in_last_words
from extrecon.options.suggestion import did_you_mean
from extrecon.system.devices import cuda_may_be_had
from extrecon.system.relion_gpu import device_of_relion

_SPLIT = (
    "the path of a STAR file seems to have a space, where the shell splits it, because RELION does not quote it"
)


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
    parsed = _parse_split(_with_dashes(arguments), working_directory)
    options = resolve(vars(parsed), parsed.set, environ, parsed.config, working_directory)
    return parsed.star, _with_relions_gpu(options, environ)


def _with_relions_gpu(options: Options, environ: Mapping[str, str]) -> Options:
    """Take ``--device auto`` for the GPU that RELION was given: the others may be somebody else's."""
    if options.text("device") != "auto" or not cuda_may_be_had():
        return options
    device = device_of_relion(environ)
    if device is None:
        return options
    return options._replace(
        values={**options.values, "device": device}, origins={**options.origins, "device": RELIONS_GPU}
    )


def _parse_split(arguments: Sequence[str], working_directory: Path) -> argparse.Namespace:
    """Parse a command line that ends with a path, which a shell may have split at its spaces."""
    parser = _parser()
    for count, files in files_in_last_words(arguments, working_directory):
        options = arguments[: len(arguments) - count]
        try:
            parsed = parser.parse_args([*options, "--", files[0]])
        except UsageError:
            continue  # not all the words before are options: some may belong to the path
        if len(files) > 1:
            raise UsageError(f"{_SPLIT}, and 2 files or more go by these words: {files[0]!r}, {files[1]!r}.")
        return parsed
    try:
        return parser.parse_args(arguments)
    except UsageError as error:
        unknown = _first_unknown(arguments)
        if unknown is not None:
            raise UsageError(_no_such(unknown)) from None
        words = _last_words(arguments)
        if len(words) > 1 and not (working_directory / words[-1]).is_file():
            raise UsageError(f"'{' '.join(words)}': {_SPLIT}. {error}") from None
        raise


def _names() -> list[str]:
    switches = [f"--no-{option.name}" for option in OPTIONS if isinstance(option.default, bool)]
    return [f"--{option.name}" for option in OPTIONS] + switches + ["--set", "--config", "--version", "--help"]


def _with_dashes(arguments: Sequence[str]) -> list[str]:
    """Return the words with ``--on_error`` written ``--on-error``."""
    names = set(_names())
    words = []
    for word in arguments:
        name, equals, value = word.partition("=")
        dashed = name.replace("_", "-")
        words.append(dashed + equals + value if dashed in names else word)
    return words


def _first_unknown(arguments: Sequence[str]) -> str | None:
    """Return the first word that looks like an option and is none, nor the beginning of one."""
    given = [word.partition("=")[0] for word in arguments if word.startswith("--") and word != "--"]
    return next((name for name in given if not any(known.startswith(name) for known in _names())), None)


def _no_such(name: str) -> str:
    return f"there is no option {name}.{did_you_mean(name, _names())} (extrecon-hook --help lists them)"


def _last_words(arguments: Sequence[str]) -> list[str]:
    """Return the words after the last option."""
    options = [place for place, word in enumerate(arguments) if word.startswith("-")]
    words = list(arguments[options[-1] + 1 :] if options else arguments)
    # The first may be that option's value.
    return words[1:] if options and len(words) > 2 else words


def parse_options(arguments: Sequence[str], environ: Mapping[str, str], working_directory: Path) -> Options:
    """Return the effective options of a command line that names no STAR file.

    Raises
    ------
    UsageError : as `parse`; or there is a word that is no option.
    """
    stray = "FILE.star"
    parsed, rest = _parser().parse_known_args([*_with_dashes(arguments), stray])
    if rest and rest[0].startswith("--"):
        raise UsageError(_no_such(rest[0].partition("=")[0]))
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
