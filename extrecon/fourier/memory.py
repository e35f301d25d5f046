"""Keep freed memory for the next array.

By default glibc returns each large array to the kernel when it is freed, and the next one is paid for again, page
by page. The transforms here free and take arrays of the same few sizes over and over: touching fresh pages then
costs as much as the arithmetic.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


@cache
def keep_freed_memory() -> None:
    """Tell glibc to serve large arrays from its heap and to keep what is freed; elsewhere do nothing."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
