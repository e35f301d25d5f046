"""Atomic structures: reading them, placing them in a map's frame, and their electron-scattering maps."""
