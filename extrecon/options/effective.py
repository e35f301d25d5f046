"""The hook's options: flag before variable before file before default, each with where it came from.

Standard library only: the hook resolves its options before it imports anything heavy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from extrecon.errors import UsageError
from extrecon.options.suggestion import did_you_mean

ENVIRONMENT_PREFIX = "EXTRECON_"
CONFIG_FILE = "extrecon.toml"
CONFIG_VARIABLE = "EXTRECON_CONFIG"
SETTINGS_VARIABLE = "EXTRECON_SET"
DAEMON_VARIABLES = ("EXTRECON_RUNTIME_DIR", "EXTRECON_IDLE_MINUTES")

RELIONS_GPU = "RELION's --gpu"
"""The origin of a device that was not asked for, but is RELION's."""

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})

LARGEST_NUMBER = 1_000_000_000  # thirty years in seconds, and more threads than any machine has

Value = str | int | float | bool
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Option(NamedTuple):  # a dataclass would cost the hook ten milliseconds at start
    """One option.

    Attributes
    ----------
    name : as in ``--name``; the variable is ``EXTRECON_NAME``, the file's key ``name``, with ``_`` for ``-``
    default : its type is the option's type
    help : one sentence
    choices : the words allowed; empty if any
    metavar : what stands for the value in a usage line
    """

    name: str
    default: Value
    help: str
    choices: tuple[str, ...] = ()
    metavar: str = ""

    @property
    def key(self) -> str:
        """The option's name in Python and in the configuration file."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The option's environment variable."""
        return ENVIRONMENT_PREFIX + self.key.upper()

    def parse(self, value: Any, origin: str) -> Value:
        """Return ``value`` as the option's type, or raise UsageError."""
        kind = type(self.default)
        if not isinstance(value, (str, int, float)):
            raise UsageError(f"{origin}: '{value}' is neither a word, a number nor true or false.")
        if kind is bool:
            return self._parse_bool(value, origin)
        try:
            parsed: Value = value if isinstance(value, kind) else kind(value)
        except (ValueError, OverflowError):
            wanted = "a whole number" if kind is int else "a number"
            raise UsageError(f"{origin}: '{value}' is not {wanted}.") from None
        if self.choices and parsed not in self.choices:
            hint = did_you_mean(str(parsed), self.choices)
            raise UsageError(f"{origin}: '{value}' is not one of {', '.join(self.choices)}.{hint}")
        if isinstance(parsed, (int, float)) and parsed < 0:
            raise UsageError(f"{origin}: the value must not be negative, but it is {value}.")
        if isinstance(parsed, float) and parsed != parsed:  # noqa: PLR0124  NaN alone is not itself
            raise UsageError(f"{origin}: '{value}' is not a number.")
        if isinstance(parsed, (int, float)) and parsed > LARGEST_NUMBER:
            raise UsageError(f"{origin}: the value must be at most {LARGEST_NUMBER:,}, but it is {value}.")
        return parsed

    @staticmethod
    def _parse_bool(value: Any, origin: str) -> bool:
        word = str(value).lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            raise UsageError(f"{origin}: '{value}' is neither true nor false.")
        return word in TRUE_WORDS


OPTIONS: tuple[Option, ...] = (
    Option(
        "regularizer",
        "cnn",
        "Regularizer; `extrecon regularizers` lists them. A+B: one after the other; global=A,local=B: by search.",
        metavar="NAME",
    ),
    Option("apply", "local-search", "When to regularize.", choices=("local-search", "always", "never")),
    Option("on-error", "plain", "After a failure: give RELION the plain map, or fail.", choices=("plain", "fail")),
    Option("daemon", "auto", "Use the warm daemon, starting it if need be, or not.", choices=("auto", "off")),
    Option("device", "auto", "Where to compute: auto, cpu, cuda or cuda:N.", metavar="DEVICE"),
    Option("threads", 0, "CPU threads; 0: half the machine's cores, or all that RELION was bound to.", metavar="N"),
    Option("mask", "", "Particle mask, 0 to 1; else RELION's, else one made from the map.", metavar="MASK.mrc"),
    Option("rescale-mask", False, "Rescale a mask stored as bytes (0 to 127, 0 to 255, -128 to 127) to 0 to 1."),
    Option(
        "mask-each-iteration",
        False,
        "In local search draw RELION's solvent mask anew from both half-maps; see `extrecon run --help`.",
    ),
    Option(
        "gridding",
        "auto",
        "Iterate gridding weights; auto: where RELION does so when it reconstructs by itself.",
        choices=("auto", "on", "off"),
    ),
    Option("shell-scale", True, "Scale each Fourier shell of the result onto the plain map (least squares)."),
    Option(
        "amplitudes",
        "auto",
        "Scale each shell by the half-map itself (least squares), or by the other half's plain map; auto: as the "
        "regularizer declares.",
        choices=("auto", "half-map", "other-half"),
    ),
    Option("fsc-cutoff", True, "Cut the result where the half-map FSC falls under 1/7."),
    Option("remove-accumulators", False, "Remove RELION's accumulators of this call after success."),
    Option("time-limit", 1800.0, "Seconds a regularizer may take, then the plain map; 0: any.", metavar="SECONDS"),
    Option("gate-wait", 5.0, "Seconds to wait for the files of the iteration before.", metavar="SECONDS"),
    Option("half-wait", 120.0, "Seconds to wait for the other half, if both are needed.", metavar="SECONDS"),
)
_BY_KEY = {option.key: option for option in OPTIONS}


class Options(NamedTuple):
    """The effective options of one call.

    Attributes
    ----------
    values : each option's value by key, such as ``on_error``
    settings : the regularizer's own parameters, as given by ``--set`` and its kin
    origins : where each value came from: "flag", a variable's name, a file's name, or "default";
        settings appear as ``set.NAME``
    warnings : sentences about what was given but not understood
    """

    values: Mapping[str, Value]
    settings: Mapping[str, Value] = _NOTHING
    origins: Mapping[str, str] = _NOTHING
    warnings: Sequence[str] = ()

    def text(self, key: str) -> str:
        """Return a word or path."""
        return str(self.values[key])

    def flag(self, key: str) -> bool:
        """Return a switch."""
        return bool(self.values[key])

    def number(self, key: str) -> float:
        """Return a number."""
        return float(self.values[key])


def resolve(
    flags: Mapping[str, Any],
    set_flags: Sequence[str],
    environ: Mapping[str, str],
    config: Path | None,
    working_directory: Path,
) -> Options:
    """Return the effective options.

    Parameters
    ----------
    flags : values from the command line by key; None where a flag was not given
    set_flags : the ``KEY=VALUE`` texts of ``--set``
    environ : environment variables
    config : the file of ``--config``; None to use ``extrecon.toml`` in ``working_directory`` if it is there
    working_directory : where the program runs

    Raises
    ------
    UsageError : a value of the wrong type, an unknown key in the file, or a file that cannot be read.
    """
    config = config or _config_from_environment(environ)
    file_values, file_settings, file_name = _read_config(config, working_directory)
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    for option in OPTIONS:
        candidates = (
            ("flag", flags.get(option.key), f"--{option.name}"),
            (option.variable, environ.get(option.variable), option.variable),
            (file_name, file_values.get(option.key), f"{file_name}: {option.key}"),
            ("default", option.default, "default"),
        )
        origin, value, where = next(c for c in candidates if c[1] is not None)
        values[option.key], origins[option.key] = option.parse(value, where), origin
    settings: dict[str, Value] = {}
    for origin, given in (
        (file_name, file_settings),
        (SETTINGS_VARIABLE, _settings_from_environment(environ)),
        ("flag", parse_settings(set_flags, "--set")),
    ):
        settings |= given
        origins |= {f"set.{name}": origin for name in given}
    return Options(values, settings, origins, _unknown_variables(environ))


def parse_settings(texts: Sequence[str], origin: str) -> dict[str, Value]:
    """Return ``KEY=VALUE`` texts as a mapping; values stay text until the regularizer's parameters type them."""
    settings: dict[str, Value] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key.strip() and equals):
            raise UsageError(f"{origin}: '{text}' is not of the form KEY=VALUE.")
        settings[key.strip()] = value.strip()
    return settings


def _settings_from_environment(environ: Mapping[str, str]) -> dict[str, Value]:
    given = environ.get(SETTINGS_VARIABLE)
    if not given:
        return {}
    import shlex

    try:
        texts = shlex.split(given)
    except ValueError as error:
        message = f"{SETTINGS_VARIABLE}: a quotation mark or backslash has no partner in '{given}' ({error})."
        raise UsageError(message) from error
    return parse_settings(texts, SETTINGS_VARIABLE)


def _config_from_environment(environ: Mapping[str, str]) -> Path | None:
    given = environ.get(CONFIG_VARIABLE)
    return Path(given) if given else None


def _read_config(config: Path | None, working_directory: Path) -> tuple[dict[str, Any], dict[str, Value], str]:
    path = working_directory / (config or CONFIG_FILE)
    name = str(config or CONFIG_FILE)
    if config is None and not path.is_file():
        return {}, {}, name
    import tomllib

    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: cannot be read: a folder, pipe or device, no regular file.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read: {error}.") from error
    settings = table.pop("set", {})
    if not isinstance(settings, dict) or not all(
        isinstance(value, (str, int, float)) for value in settings.values()
    ):
        raise UsageError(f"{path}: [set] must hold KEY = VALUE lines.")
    values = {key.replace("-", "_"): value for key, value in table.items()}
    unknown = sorted(set(values) - set(_BY_KEY))
    if unknown:
        hint = did_you_mean(unknown[0], [*_BY_KEY, "set"])
        raise UsageError(f"{path}: unknown key '{unknown[0]}'.{hint} Known: {', '.join(_BY_KEY)}, set.")
    return values, settings, name


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = {option.variable for option in OPTIONS} | {CONFIG_VARIABLE, SETTINGS_VARIABLE, *DAEMON_VARIABLES}
    return [
        f"the environment variable {name} is not one of extrecon's and has no effect.{did_you_mean(name, known)}"
        for name in sorted(environ)
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    ]
