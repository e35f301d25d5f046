"""The reference pages' tables, read from the program itself: commands, options, record, exit codes, parameters.

A page says ``<!-- TABLE -->`` where a table belongs, TABLE being a key of `TABLES`. Nothing of it is kept in git.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from inspect import cleandoc
from typing import Any

import typer.main

from extrecon import errors
from extrecon.call.treatment import Wishes
from extrecon.cli.main import app, real_command
from extrecon.options import CONFIG_FILE, OPTIONS
from extrecon.record import Record
from extrecon.regularizer import (
    LOCAL_RESOLUTION_GROUP,
    REGULARIZER_GROUP,
    LocalResolutionMethod,
    Regularizer,
    available,
    load,
)
from extrecon.settings import Parameter, parameters_of

# Rich's marks of bold and colours, which a page does not show.
_MARKS = re.compile(r"\[/?(?:bold|dim|red|green|yellow)?\]")


def commands() -> str:
    """Return a section for each command: its usage, what it does, its arguments and options."""
    group = typer.main.get_command(app)
    told = [_command(name, command) for name, command in every_command(group)]
    if not any("--" in section for section in told):
        raise RuntimeError("the commands have no options: they were not imported.")
    return "\n\n".join(told)


def every_command(group: Any, prefix: str = "extrecon") -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, by its full name; ``group`` is click's."""
    for name, listed in group.commands.items():
        full = f"{prefix} {name}"
        command = real_command(name) if prefix == "extrecon" else listed  # the list alone imports none
        if hasattr(command, "commands"):
            yield from every_command(command, full)
        else:
            yield full, command


def _command(name: str, command: Any) -> str:
    if command.help == "Cannot be used here.":
        raise RuntimeError(f"{name} cannot be imported; `{name}` in a terminal tells why.")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    words = [p.metavar or p.name.upper() for p in arguments]
    usage = " ".join([name, *(["[options]"] if options else []), *words])
    if name == "extrecon run":
        usage = "extrecon run [hook options] -- COMMAND …"
    parts = [f"## {name}", f"```text\n{usage}\n```", _plain(cleandoc(command.help or ""))]
    rows = [(f"`{word}`", _plain(p.help or ""), "") for word, p in zip(words, arguments, strict=True)]
    rows += [(_names(p), _plain(p.help or ""), _default(p)) for p in options]
    return "\n\n".join([*parts, _table(("", "meaning", "default"), rows)] if rows else parts)


def _names(option: Any) -> str:
    value = "" if option.is_flag else f" {_value(option)}"
    first = ", ".join(f"`{name}{value}`" for name in sorted(option.opts, key=len, reverse=True))
    return ", ".join([first, *(f"`{name}`" for name in option.secondary_opts)])


def _value(option: Any) -> str:
    if option.metavar:
        return str(option.metavar)
    kind = option.type_descriptor.annotation
    if issubclass(kind, Enum):
        return "|".join(str(choice.value) for choice in kind)
    return {int: "N", float: "X"}.get(kind, "WORD")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    value = option.default
    if option.is_flag:
        return "on" if value else "off"
    if value is None or callable(value) or value in ("", [], ()):
        return ""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(getattr(value, "value", value))


def hook_options() -> str:
    """Return the hook's options: name, default, and the program's own sentence."""
    rows = []
    for option in OPTIONS:
        if isinstance(option.default, bool):
            name, default = f"`--{option.name}`, `--no-{option.name}`", "on" if option.default else "off"
        else:
            name = f"`--{option.name} {option.metavar or '|'.join(option.choices)}`"
            default = f"`{_number_or_word(option.default)}`" if option.default != "" else ""
        rows.append((name, default, option.help))
    rows.append(("`--set KEY=VALUE`", "", "One of the regularizer's own parameters; repeatable."))
    rows.append(("`--config FILE`", f"`{CONFIG_FILE}`", "Options from a file."))
    return _table(("option", "default", "meaning"), rows)


def _number_or_word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def record_fields() -> str:
    """Return the record's fields as its class describes them."""
    rows = [(", ".join(f"`{name}`" for name in names), text) for names, text in described(Record)]
    return _table(("field", "meaning"), rows)


def described(of: type) -> list[tuple[list[str], str]]:
    """Return what a docstring's Attributes say: names, and one paragraph about them."""
    text = cleandoc(of.__doc__ or "")
    listed = re.split(r"^Attributes\n-+\n", text, flags=re.MULTILINE)[1]
    items = re.findall(r"^(\S[^:\n]*) : (.*(?:\n[ ]+.*)*)", listed, flags=re.MULTILINE)
    return [(names.split(", "), " ".join(meaning.split()).replace("``", "`")) for names, meaning in items]


def exit_codes() -> str:
    """Return the codes of errors that extrecon raises, from the classes themselves."""
    found: dict[int, list[tuple[str, str]]] = {}
    for error in _family(errors.ExtreconError):
        found.setdefault(error.exit_code, []).append((error.__name__, cleandoc(error.__doc__ or "")))
    rows = [
        (str(code), "<br>".join(text for _, text in told), "<br>".join(f"`{name}`" for name, _ in told))
        for code, told in sorted(found.items())
    ]
    return _table(("code", "meaning", "in Python"), rows)


def _family(base: type[errors.ExtreconError]) -> Iterator[type[errors.ExtreconError]]:
    yield base
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _family(child)


def regularizers() -> str:
    """Return a section for each shipped plugin: what it does, and its parameters."""
    parts = []
    for group in (REGULARIZER_GROUP, LOCAL_RESOLUTION_GROUP):
        for name in available(group):
            plugin: Regularizer[Any] | LocalResolutionMethod[Any] = load(name, group)
            if type(plugin).__module__.split(".")[0] == "extrecon_regularizers":
                parts += [f"## {name}", f"{plugin.summary}.", *_declared(plugin)]
    return "\n\n".join(parts)


def _declared(plugin: Regularizer[Any] | LocalResolutionMethod[Any]) -> Iterator[str]:
    parameters = parameters_of(plugin.settings_type)
    yield parameter_table(parameters) if parameters else "It has no parameters of its own."
    if isinstance(plugin, Regularizer):
        rows = [
            (f"`{key}`", f"`{word}`", f"`{getattr(plugin.treatment, key)}`")
            for key, word in vars(plugin.treatment_inside_refinement).items()
        ]
        yield _table(("treatment that it declares", "inside refinement", "`extrecon regularize`"), rows)


def treatment() -> str:
    """Return the parameters that every regularizer has, because what they say is extrecon's part."""
    return parameter_table(parameters_of(Wishes))


def parameter_table(parameters: tuple[Parameter, ...]) -> str:
    """Return what ``--set`` takes."""
    rows = [(f"`{p.name}`", _given(p), _allowed(p), p.help) for p in parameters]
    return _table(("`--set`", "default", "allowed", "meaning"), rows)


def _given(parameter: Parameter) -> str:
    return f"{_number_or_word(parameter.default)} {parameter.unit}".strip()


def _allowed(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(parameter.choices)
    low, high = parameter.minimum, parameter.maximum
    if low is None and high is None:
        return {str: "text", bool: "true, false", int: "a whole number", float: "a number"}[type(parameter.default)]
    return f"from {low:g}" if high is None else f"up to {high:g}" if low is None else f"{low:g} to {high:g}"


def _plain(text: str) -> str:
    return _MARKS.sub("", text).replace("<", "&lt;")


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "hook-options": hook_options,
    "record-fields": record_fields,
    "exit-codes": exit_codes,
    "regularizers": regularizers,
    "treatment": treatment,
}


def filled(markdown: str) -> str:
    """Return a page with its tables in place."""
    return re.sub(r"<!-- ([a-z-]+) -->", lambda found: TABLES[found[1]](), markdown)
