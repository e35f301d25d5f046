"""Packages that only some of the work needs, and what to type where one is missing. Standard library only."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec

from extrecon.errors import PackageMissingError

SIMULATING = dict.fromkeys(("healpix", "torch", "torch_ctf", "torch_fourier_slice"), "extrecon[simulate]")
"""What `extrecon simulate` needs: each package as it is imported, and what to give pip."""


def is_installed(package: str) -> bool:
    """Tell whether a package can be found, without importing it; a broken one is installed all the same."""
    if package in sys.modules:
        return True
    try:
        return find_spec(package) is not None
    except ImportError:
        return False


def missing(who: str, packages: Mapping[str, str]) -> str:
    """Return a sentence about those of the packages that are not installed, empty if all are.

    Parameters
    ----------
    who : needs them
    packages : each as it is imported, and what to give pip
    """
    absent = [package for package in packages if not is_installed(package)]
    if not absent:
        return ""
    names = " and ".join(filter(None, (", ".join(absent[:-1]), absent[-1])))
    wanted = " ".join(f"'{words}'" for words in dict.fromkeys(packages[package] for package in absent))
    return f"{who} needs {names}, which {'are' if absent[1:] else 'is'} not installed here: pip install {wanted}"


def require(who: str, packages: Mapping[str, str]) -> None:
    """Refuse to begin with work that would end for want of a package.

    Raises
    ------
    PackageMissingError : which package is missing, and the command that installs it.
    """
    told = missing(who, packages)
    if told:
        raise PackageMissingError(f"{told}.")
