"""``extrecon regularizers``: what is installed, and the parameters of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from extrecon.call.treatment import Wishes
from extrecon.cli.console import JsonOption, busy, console, method_names, print_json, regularizer_names
from extrecon.errors import RegularizerError
from extrecon.options.phases import CHAIN
from extrecon.options.suggestion import did_you_mean
from extrecon.regularizer import (
    LOCAL_RESOLUTION_GROUP,
    REGULARIZER_GROUP,
    LocalResolutionMethod,
    Regularizer,
    available,
    load,
    missing_packages,
)
from extrecon.settings import Parameter, parameters_of

_TITLES = {REGULARIZER_GROUP: "Regularizers", LOCAL_RESOLUTION_GROUP: "Local-resolution methods"}


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Show this one's parameters, units and defaults.",
            autocompletion=lambda incomplete: regularizer_names(incomplete) + method_names(incomplete),
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the regularizers and local-resolution methods, or one's parameters for --set."""
    if name is None:
        with busy("Loading what is installed …"):
            found = {group: _list(group) for group in _TITLES}
        if json:
            print_json(found)
        else:
            _show_all(found)
        return
    plugins = {part: _plugin(part) for part in name.split(CHAIN)}
    if json:
        told = {part: _described(part, plugin) for part, plugin in plugins.items()}
        print_json(told if CHAIN in name else told[name])
        return
    for part, plugin in plugins.items():
        _show_one(part, plugin)


def _list(group: str) -> list[dict[str, str]]:
    """Return name, version and summary of each plugin, or the error of one that cannot be loaded."""
    found = []
    for name in available(group):
        try:
            plugin = load(name, group, to_work=False)
        except RegularizerError as error:
            found.append({"name": name, "error": str(error)})
        else:
            told = {"name": name, "version": plugin.version, "summary": plugin.summary}
            lacking = missing_packages(plugin)
            found.append(told | ({"lacks": lacking} if lacking else {}))
    return found


def _show_all(found: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    for group, plugins in found.items():
        table = Table(title=_TITLES[group], title_justify="left")
        for column in ("name", "version", "what it does"):
            table.add_column(column)
        for plugin in plugins:
            if "error" in plugin:
                table.add_row(plugin["name"], "-", Text(plugin["error"], "red"))
            else:
                lacks = f"\n[yellow]{escape(plugin['lacks'])}[/]" if "lacks" in plugin else ""
                table.add_row(plugin["name"], plugin["version"], escape(plugin["summary"]) + lacks)
        console.print(table)


def _plugin(name: str) -> Regularizer | LocalResolutionMethod:
    groups = [group for group in _TITLES if name in available(group)]
    everywhere = [each for group in _TITLES for each in available(group)]
    if not groups:
        raise RegularizerError(
            f"'{name}' is not installed.{did_you_mean(name, everywhere)} Installed: {', '.join(everywhere)}."
        )
    found: Regularizer | LocalResolutionMethod = load(name, groups[0], to_work=False)
    return found


def _described(name: str, plugin: Regularizer | LocalResolutionMethod) -> dict[str, Any]:
    parameters = [
        {**vars(p), "type": type(p.default).__name__, "choices": list(p.choices)}
        for p in parameters_of(plugin.settings_type)
    ]
    return {"name": name, "version": plugin.version, "summary": plugin.summary, "parameters": parameters}


def _show_one(name: str, plugin: Regularizer | LocalResolutionMethod) -> None:
    console.print(f"[bold]{name}[/] {plugin.version}: {plugin.summary}", highlight=False)
    if lacking := missing_packages(plugin):
        console.print(f"[yellow]{escape(lacking)}[/]", highlight=False, soft_wrap=True)
    parameters = parameters_of(plugin.settings_type)
    if parameters:
        console.print(_parameter_table(parameters))
    else:
        console.print("It has no parameters.")
    if isinstance(plugin, Regularizer):
        console.print("What extrecon does with its density (auto: as the regularizer declares):", highlight=False)
        console.print(_parameter_table(parameters_of(Wishes)))
        for where, treatment in (
            ("inside refinement", plugin.treatment_inside_refinement),
            ("by `extrecon regularize`", plugin.treatment),
        ):
            declared = ", ".join(f"{key} {word}" for key, word in vars(treatment).items())
            console.print(f"It declares, {where}: {declared}.", highlight=False)
    if isinstance(plugin, Regularizer) and (card := plugin.card()):
        console.print(Markdown(card))


def _parameter_table(parameters: Sequence[Parameter]) -> Table:
    table = Table()
    for column in ("--set", "default", "unit", "allowed", "meaning"):
        table.add_column(column)
    for p in parameters:
        table.add_row(p.name, str(p.default), p.unit, _allowed(p), p.help)
    return table


def _allowed(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(parameter.choices)
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"from {low:g}"
    if high is not None:
        return f"up to {high:g}"
    return type(parameter.default).__name__
