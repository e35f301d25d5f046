"""The options of the hook: flag before variable before file before default, each with its origin."""

from extrecon.options.effective import (
    CONFIG_FILE,
    DAEMON_VARIABLES,
    ENVIRONMENT_PREFIX,
    FALSE_WORDS,
    OPTIONS,
    RELIONS_GPU,
    TRUE_WORDS,
    Options,
    Value,
    parse_settings,
    resolve,
)

__all__ = [
    "CONFIG_FILE",
    "DAEMON_VARIABLES",
    "ENVIRONMENT_PREFIX",
    "FALSE_WORDS",
    "OPTIONS",
    "RELIONS_GPU",
    "TRUE_WORDS",
    "Options",
    "Value",
    "parse_settings",
    "resolve",
]
