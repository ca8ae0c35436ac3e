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
        threads: their number; by default one for each CPU core.
        ahead: number of items that are worked on or done before their turn; by default two for each thread.

    >>> list(in_threads(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    count = threads or os.cpu_count() or 1
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
