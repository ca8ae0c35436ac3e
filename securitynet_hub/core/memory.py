"""What becomes of memory that tensors have freed."""

from __future__ import annotations

import ctypes
import os
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""The numbers that glibc's malloc.h gives these two settings; their names in the environment end in ``_``."""

LARGEST, KEPT = 1 << 28, (1 << 31) - 1
"""Bytes of the largest block that is kept, and of all that is kept on top of the heap; an int at most."""


def keep_freed_memory() -> bool:
    """Let this process keep the memory that tensors free for the next ones; return whether it will.

    Left to itself, glibc gives a batch's activations back to the system, which clears them anew, page by
    page, for the next batch: a third to a half of a pass of a network over images on a CPU. Kept, they leave
    holes that the next do not always fit, so that a process can grow to 1.6 times its size, and it does not
    shrink until it ends. So only the command line asks for it, where the process is its own.

    Nothing is changed where MALLOC_MMAP_THRESHOLD_ or MALLOC_TRIM_THRESHOLD_ are set, or where another
    library than glibc allocates. On a GPU torch keeps freed memory anyway.
    """
    set_already = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & set(os.environ)
    if set_already or sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, KEPT))
