"""Half-maps in memory and on disk."""

from extrecon.maps.half_map import HalfMap
from extrecon.maps.mrc import read_map, read_volume, write_map

__all__ = ["HalfMap", "read_map", "read_volume", "write_map"]
