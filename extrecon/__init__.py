"""extrecon: external reconstruction for RELION with a pluggable regularizer."""

__version__ = "0.1.0"
