"""How the process's memory allocator treats what is freed."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""glibc's numbers for `mallopt` (malloc.h)."""


def keep_freed_memory() -> bool:
    """Have the process keep memory that it frees for its next use; whether the C library here can.

    By default glibc maps every large tensor anew and gives it back at once, and the kernel fills it with zeros each
    time: on activations of 32 MiB and more that costs more than most operators. One pool for all threads, because the
    threads' own pools hold no large blocks.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: musl, macOS, Windows
        return False
    largest = 2**31 - 1
    return all([mallopt(_MMAP_THRESHOLD, 2**30), mallopt(_TRIM_THRESHOLD, largest), mallopt(_ARENA_MAX, 1)])
