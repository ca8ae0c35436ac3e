"""torch as this package expects it: gradients where they are asked for, and float32 unless said otherwise."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.Lock()
_inside = 0
_callers = torch.float32


@contextmanager
def plain_torch() -> Iterator[None]:
    """Leave the caller's `no_grad`, `inference_mode` and default precision within the block.

    An attack that trains a network needs gradients, whatever the evaluation loop that calls it has switched
    off. Grad and inference mode belong to the thread. The default precision belongs to the process: it is
    float32 while any thread is inside, and the caller's again once the last one has left.

    >>> with torch.inference_mode(), plain_torch():
    ...     torch.zeros(1, requires_grad=True).sum().requires_grad
    True
    """
    global _inside, _callers  # noqa: PLW0603 (the process has one default)
    with _LOCK:
        if not _inside:
            _callers = torch.get_default_dtype()
            torch.set_default_dtype(torch.float32)
        _inside += 1
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside:
                torch.set_default_dtype(_callers)
