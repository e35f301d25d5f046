"""``extrecon regularizers``: what is installed, and the parameters of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from extrecon.call.treatment import Wishes
from extrecon.cli.console import console
from extrecon.errors import RegularizerError
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


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show this one's parameters, units and defaults.")
    ] = None,
) -> None:
    """List the regularizers and local-resolution methods, or one's parameters for --set."""
    if name is None:
        _show_all()
    else:
        _show_one(name)


def _show_all() -> None:
    for title, group in (("Regularizers", REGULARIZER_GROUP), ("Local-resolution methods", LOCAL_RESOLUTION_GROUP)):
        table = Table(title=title, title_justify="left")
        for column in ("name", "version", "what it does"):
            table.add_column(column)
        for name in available(group):
            try:
                plugin = load(name, group, to_work=False)
            except RegularizerError as error:
                table.add_row(name, "-", f"[red]{escape(str(error))}[/]")
            else:
                lacking = missing_packages(plugin)
                told = f"\n[yellow]{escape(lacking)}[/]" if lacking else ""
                table.add_row(name, plugin.version, escape(plugin.summary) + told)
        console.print(table)


def _show_one(name: str) -> None:
    groups = [group for group in (REGULARIZER_GROUP, LOCAL_RESOLUTION_GROUP) if name in available(group)]
    group = groups[0] if groups else REGULARIZER_GROUP
    plugin: Regularizer | LocalResolutionMethod = load(name, group, to_work=False)
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
