"""What the commands share: consoles, the progress bar, common options, and care for the user's files."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from extrecon.errors import OutputError
from extrecon.options import Value, parse_settings
from extrecon.system.json_text import to_json

if TYPE_CHECKING:  # NumPy may be what is broken, and `extrecon doctor` must still be able to say so
    from extrecon import regularizer

console = Console()
errors = Console(stderr=True)

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One of the method's parameters; repeatable."),
]
DeviceOption = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or cuda:N.")]
ThreadsOption = Annotated[int, typer.Option(min=0, help="CPU threads; 0 means all cores this process may use.")]
PixelSizeOption = Annotated[
    float | None, typer.Option("--pixel-size", metavar="Å", help="Pixel size, Å, in place of the headers'.")
]
RescaleMaskOption = Annotated[
    bool, typer.Option("--rescale-mask", help="Take a mask stored as bytes for one from 0 to 1.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace results that are already there.")]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read, and nothing else.")]


def print_json(content: Mapping[str, Any]) -> None:
    """Print what a program asked for with ``--json``."""
    typer.echo(to_json(content), nl=False)


@contextmanager
def progress_bar() -> Iterator[regularizer.Progress]:
    """Show stages as they go, on a terminal; stay silent elsewhere."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
        transient=True,
    ) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, fraction: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=fraction)

        yield report


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show on a terminal that work is under way which cannot tell how far it is; stay silent elsewhere."""
    with errors.status(what) if errors.is_terminal else nullcontext():
        yield


def regularizer_names(incomplete: str) -> list[str]:
    """Return the installed regularizers whose names begin so, for the shell's completion."""
    from extrecon.regularizer import REGULARIZER_GROUP

    return _names(REGULARIZER_GROUP, incomplete)


def method_names(incomplete: str) -> list[str]:
    """Return the installed local-resolution methods whose names begin so, for the shell's completion."""
    from extrecon.regularizer import LOCAL_RESOLUTION_GROUP

    return _names(LOCAL_RESOLUTION_GROUP, incomplete)


def _names(group: str, incomplete: str) -> list[str]:
    from extrecon.regularizer import available

    return [name for name in available(group) if name.startswith(incomplete)]


def settings_from(texts: Sequence[str] | None) -> Mapping[str, Value]:
    """Return the ``--set`` options as a mapping."""
    return parse_settings(texts or [], "--set")


def prepare_folder(folder: Path) -> None:
    """Make the output folder; one that holds nothing when the command ends, because it failed, goes again."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{folder}: -o names a folder, but this is a file.") from None
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be made: {error.strerror}.") from error
    if is_new:
        atexit.register(_remove_if_empty, folder.absolute(), os.getpid())


def _remove_if_empty(folder: Path, made_by: int) -> None:
    if os.getpid() == made_by:  # a forked process ends while its parent still works
        with suppress(OSError):
            folder.rmdir()


def refuse_to_overwrite(paths: Sequence[Path], *, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Stop before work starts if a result would replace a file.

    Raises
    ------
    OutputError : a path is one of the inputs, or it is there and ``overwrite`` is off.
    """
    for path in paths:
        if any(path.exists() and source.exists() and path.samefile(source) for source in inputs):
            raise OutputError(f"{path}: is an input of this command; choose another output.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: is already there; give --overwrite to replace it.")
