"""Where the time goes: seconds by stage, each moment of a thread counted for the innermost stage it is in."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

Spent = dict[str, float]
"""Seconds on the clock by stage, summed over threads."""

_spent: Spent | None = None
"""Of the profile that is being taken; None where none is."""

_LOCK = threading.Lock()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.stack: list[str] = []
        self.since = 0.0


_THREAD = _Thread()


@contextmanager
def profiled() -> Iterator[Spent]:
    """Take a profile within the block: yield what is filled with the seconds of each stage.

    >>> with profiled() as spent:
    ...     with stage("outer"), stage("inner"):
    ...         pass
    >>> sorted(spent)
    ['inner', 'outer']
    """
    global _spent  # noqa: PLW0603
    before, _spent = _spent, defaultdict(float)
    try:
        yield _spent
    finally:
        _spent = before


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time of the block for a stage, but for stages within it; without a profile, nothing."""
    if _spent is None:
        yield
        return
    _charge()
    _THREAD.stack.append(name)
    try:
        yield
    finally:
        _charge()
        _THREAD.stack.pop()


def _charge() -> None:
    """Count the time since this thread's last change of stage for the stage that it is in."""
    now, spent = time.perf_counter(), _spent
    if _THREAD.stack and spent is not None:
        with _LOCK:
            spent[_THREAD.stack[-1]] += now - _THREAD.since
    _THREAD.since = now
