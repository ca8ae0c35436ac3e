"""Chance that a seed decides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let the seed decide the CPU's chance; the global random state, of every device, stays as it was.

    `torch.manual_seed` would seed the other devices, too, which `fork_rng` would not put back.

    >>> with seeded(0):
    ...     torch.randint(100, (3,)).tolist()
    [44, 39, 33]
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
