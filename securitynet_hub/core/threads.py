"""Work on many items in threads, a few ahead of whoever takes the results."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Return how many CPU cores this process may use: a job on a cluster often has a few of many.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wait_passively() -> bool:
    """Let torch's threads sleep while they wait for one another; return whether they will.

    By default OpenMP's threads spin. Where something else needs the cores, such as threads that decode or
    another process, those that spin keep those from running that they wait for: a pass of a small network on
    two busy cores took four times as long. What is computed is the same. The setting is read when torch is
    imported; nothing is changed after that, or where the environment has it (``OMP_WAIT_POLICY``). Only the
    command line calls this function, because there the process belongs to this package.
    """
    if "torch" in sys.modules or "OMP_WAIT_POLICY" in os.environ:
        return False
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return True


def in_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int | None = None,
    ahead: int | None = None,
) -> Generator[Result, None, None]:
    """Yield the function's results in the order of the items.

    Args:
        function: called in threads.
        items: taken one after the other.
        threads: their number; by default one for each core of `usable_cores`.
        ahead: number of items that are worked on or done before their turn; by default two for each thread.

    >>> list(in_threads(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    count = threads or usable_cores()
    with ThreadPoolExecutor(count) as pool:
        left = iter(items)
        upcoming: deque[Future[Result]] = deque()
        try:
            upcoming.extend(pool.submit(function, item) for item in islice(left, ahead or 2 * count))
            while upcoming:
                result = upcoming.popleft().result()
                upcoming.extend(pool.submit(function, item) for item in islice(left, 1))
                yield result
        finally:  # an error, or whoever takes the results has enough
            pool.shutdown(wait=True, cancel_futures=True)
