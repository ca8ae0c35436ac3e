"""Work on many items in threads, a few ahead of whoever takes the results."""

from __future__ import annotations

import os
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
