"""Threads: how many a process may run at once, and work that they share.

The number is the process's budget (`thread_budget`). Torch's threads, an engine's and those that decode
images all draw on it: who runs takes a turn (`Turns`), and waits where none is left.
"""

from __future__ import annotations

import math
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from securitynet_hub.core.stages import stage

Item = TypeVar("Item")
Result = TypeVar("Result")

VARIABLE = "OMP_NUM_THREADS"

ROOT = Path("/")


def usable_cores(root: Path = ROOT) -> int:
    """Return how many CPU cores this process may use: a job on a cluster often has a few of many.

    It is the least of the cores that it was given and of the share of their time that its control group has
    (a container with ``--cpus 2``), rounded up.

    Args:
        root: where the system's files are.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas(root))]))


def thread_budget(processes: int = 1) -> int:
    """Return how many threads of this process may run at once.

    It is ``OMP_NUM_THREADS`` where the environment has that, as for torch; else the usable cores, divided by
    the processes that share them.

    Args:
        processes: of this launch on this machine.

    >>> thread_budget() >= 1, thread_budget(10**6) >= 1
    (True, True)
    """
    asked = re.fullmatch(r"\s*\+?0*([1-9]\d{0,5})\s*(,.*)?", os.environ.get(VARIABLE, ""))
    return int(asked[1]) if asked else max(1, usable_cores() // processes)


def _quotas(root: Path) -> Iterator[float]:
    """Yield how many cores' time the control groups of this process have, where they have a limit."""
    groups: list[list[str]] = []
    with suppress(OSError, UnicodeDecodeError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        groups = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    for _, controllers, path in groups:
        steps = [step for step in path.split("/") if step not in ("", "..")]
        for depth in range(len(steps) + 1):
            place = "/".join(steps[:depth])
            with suppress(OSError, ValueError, ZeroDivisionError):
                if not controllers:  # version 2
                    quota, period = (root / "sys/fs/cgroup" / place / "cpu.max").read_text().split()
                elif "cpu" in controllers.split(","):
                    folder = root / "sys/fs/cgroup/cpu" / place
                    quota = (folder / "cpu.cfs_quota_us").read_text()
                    period = (folder / "cpu.cfs_period_us").read_text()
                else:
                    continue
                if quota.strip() != "max" and int(quota) > 0:
                    yield int(quota) / int(period)


def share_threads() -> None:
    """Let torch keep to this process's budget, and its threads sleep while they wait for one another.

    Torch would start a thread for each core of the machine in a container that has the time of a few. And by
    default OpenMP's threads spin. Where something else needs the cores, such as threads that decode or
    another process, those that spin keep those from running that they wait for: a pass of a small network on
    two busy cores took four times as long. What is computed is the same.

    The settings are read when torch is imported; nothing is changed after that, or where the environment has
    them (``OMP_NUM_THREADS``, ``OMP_WAIT_POLICY``). Only the command line calls this function, because there
    the process belongs to this package.
    """
    if "torch" in sys.modules:
        return
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if any(_quotas(ROOT)):
        os.environ.setdefault(VARIABLE, str(thread_budget()))


class Turns:
    """The turns of a process's threads: no more run at once than it may run.

    Args:
        count: of turns.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free, self._first = count, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, turns: int = 1, *, first: bool = False) -> Iterator[None]:
        """Hold turns within the block, all of them at most; wait until they are free.

        Args:
            turns: how many.
            first: whether to come before all who wait without that.
        """
        turns = min(turns, self.count)
        with stage("wait for threads"):
            self._take(turns, first)
        try:
            yield
        finally:
            self._give(turns)

    @contextmanager
    def given(self) -> Iterator[None]:
        """Give a turn that is held to others within the block, which waits; then come first."""
        self._give(1)
        try:
            yield
        finally:
            self._take(1, first=True)

    def pass_on(self) -> None:
        """Let those who come first, if any wait, have a turn that is held before going on."""
        if self._first:
            with stage("wait for threads"):
                self._give(1)
                self._take(1, first=False)

    def end(self) -> None:
        """Let everybody run who waits or comes."""
        with self._changed:
            self._free = sys.maxsize
            self._changed.notify_all()

    def _take(self, turns: int, first: bool) -> None:
        with self._changed:
            self._first += first
            try:
                while self._free < turns or (self._first and not first):
                    self._changed.wait()
                self._free -= turns
            finally:  # an interrupt, too, must leave nobody waiting
                self._first -= first
                if first:
                    self._changed.notify_all()

    def _give(self, turns: int) -> None:
        with self._changed:
            self._free += turns
            self._changed.notify_all()


def in_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int | None = None,
    ahead: int | None = None,
    on_start: Callable[[], object] = lambda: None,
) -> Generator[Result, None, None]:
    """Yield the function's results in the order of the items.

    Args:
        function: called in threads.
        items: taken one after the other.
        threads: their number; by default `thread_budget`.
        ahead: number of items that are worked on or done before their turn; by default two for each thread.
        on_start: called once in each thread.

    >>> list(in_threads(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    count = threads or thread_budget()
    with ThreadPoolExecutor(count, initializer=on_start) as pool:
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
