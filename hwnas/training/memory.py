"""How the process's memory allocator treats what is freed."""

from __future__ import annotations

import ctypes

from hwnas.spaces import Space

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""glibc's numbers for `mallopt` (malloc.h)."""

_LARGEST_IN_THREAD_POOL = 64 * 2**20
"""glibc's HEAP_MAX_SIZE on 64 bits: what does not fit there, a thread's own pool gives back when it is freed."""


def keep_freed_memory(space: Space, images: int) -> bool:
    """Have the process keep memory that it frees for its next use; whether the C library here can.

    By default glibc maps every large tensor anew and gives it back at once, and the kernel fills it with zeros each
    time: on activations of 32 MiB and more that costs more than most operators. Where the activations of `images` at
    once are too large for the threads' own pools, all threads share one; else they do not, since waiting for that one
    cost 30 % of the quickstart's training (measured).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: musl, macOS, Windows
        return False
    largest = 2**31 - 1
    options = [(_MMAP_THRESHOLD, 2**30), (_TRIM_THRESHOLD, largest)]
    largest_bytes = images * int(space.peak_activation_bytes(space.extreme(largest=True)[None])[0])
    if largest_bytes > _LARGEST_IN_THREAD_POOL:
        options.append((_ARENA_MAX, 1))
    accepted = [mallopt(option, value) for option, value in options]
    return all(accepted)
