"""What the user chose: regularizer, settings and mask, checked before days of refinement depend on them."""

from __future__ import annotations

from pathlib import Path

from extrecon.errors import MapError
from extrecon.options import Options
from extrecon.regularizer import Regularizer, Setting, load, settings_for


def load_choice(options: Options) -> tuple[Regularizer, dict[str, Setting]]:
    """Return the chosen regularizer and all its settings.

    Raises
    ------
    UsageError, RegularizerError : no such regularizer or parameter, or one that cannot be imported.
    """
    name = options.text("regularizer")
    regularizer: Regularizer = load(name)
    return regularizer, settings_for(regularizer.parameters, options.settings, f"The regularizer {name}")


def check_choice(options: Options, working_directory: Path) -> None:
    """Refuse what would fail when its time comes, as far as that shows without a map.

    Raises
    ------
    UsageError, RegularizerError : as `load_choice`, or the regularizer refuses its settings.
    MapError : the mask is not there.
    """
    regularizer, settings = load_choice(options)
    regularizer.check(settings)
    mask = options.text("mask")
    if regularizer.uses_mask and mask and not (working_directory / mask).is_file():
        raise MapError(f"--mask {mask}: no such file; paths count from the folder where RELION is started.")
