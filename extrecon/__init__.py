"""extrecon: external reconstruction for RELION with a pluggable regularizer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extrecon.notebook import reconstruct, regularize

__version__ = "0.1.0"
__all__ = ["__version__", "reconstruct", "regularize"]


def __getattr__(name: str) -> object:
    """Import what notebooks call when they call it: the hook must not wait for NumPy."""
    if name not in ("reconstruct", "regularize"):
        raise AttributeError(f"module 'extrecon' has no attribute '{name}'")
    from extrecon import notebook

    return getattr(notebook, name)
