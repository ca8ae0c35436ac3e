"""Random numbers that depend on a seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers on the CPU within the block; restore the global random state after it.

    The other devices' generators are not touched. (`torch.manual_seed` would seed them, too, and `fork_rng`
    would not restore them.)

    >>> with seeded(0):
    ...     torch.randint(100, (3,)).tolist()
    [44, 39, 33]
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
