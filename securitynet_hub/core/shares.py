"""How work that falls into parts is done: by one process, or in shares by several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class Share(Protocol):
    """Does every part of some work and returns the results in order, on every process that takes part.

    The parts must not depend on the number of processes; then neither do the results.
    """

    def __call__(self, work: Callable[[Part], Result], parts: Sequence[Part], /) -> list[Result]:
        """Return ``[work(part) for part in parts]``."""


def alone(work: Callable[[Part], Result], parts: Sequence[Part], /) -> list[Result]:
    """Do every part in this process, whatever others do.

    >>> alone(abs, [-1, 2])
    [1, 2]
    """
    return [work(part) for part in parts]
