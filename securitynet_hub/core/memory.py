"""Memory: when what tensors freed is returned to the system, and when Python looks for garbage."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""The numbers of these two settings in glibc's malloc.h; their environment variables end in ``_``."""

LARGEST, KEPT = 1 << 28, (1 << 31) - 1
"""Bytes of the largest block that is kept, and of all memory kept on top of the heap (the largest C int)."""


def keep_freed_memory() -> bool:
    """Let this process reuse the memory that tensors free; return whether it will.

    By default, glibc returns a batch's activations to the system, which clears the pages again for the next
    batch. On a CPU this takes a third to a half of a network's pass over images. The price of keeping the
    memory is fragmentation: a process can grow to 1.6 times its size, and does not shrink until it ends. So
    only the command line calls this function, because there the process belongs to this package.

    Nothing is changed if MALLOC_MMAP_THRESHOLD_ or MALLOC_TRIM_THRESHOLD_ is set, or if the allocator is not
    glibc's. On a GPU, torch keeps freed memory anyway.
    """
    set_already = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & set(os.environ)
    if set_already or sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, KEPT))


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Put off Python's search for garbage in circles: half of the time where many objects are made.

    Python looks through all objects again whenever their number has grown by a quarter. Meant for loops that
    make much and drop little, and make no circles.

    >>> with without_collection():
    ...     gc.isenabled()
    False
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
