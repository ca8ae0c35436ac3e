"""Bound what a stranger's configuration makes a library build: modules, parameters, and one forward pass.

Bounds on the numbers of a configuration do not do: twenty small numbers of a list can ask for 20,000 layers.
So what is built is counted while it is built, and the building ends where it exceeds the budget.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from securitynet_hub.core.errors import ModelError

MAX_MODULES = 10_000
"""Modules of a network; a ResNet of 1,001 layers has some 4,000."""

MAX_PARAMETERS = 4_000_000_000
"""Parameters of a network: 16 GB in float32."""

MAX_SECONDS = 120.0
"""Seconds in which a network must be built, and its forward pass be followed without numbers."""

MAX_ACTIVATIONS, MAX_OPERATIONS = 16 << 30, 200_000
"""Bytes that all steps of a forward pass of one image may write together, and number of those steps."""


@contextmanager
def bounded_building() -> Iterator[None]:
    """End what this thread builds within the block where it exceeds the budget.

    Raises:
        ModelError: it has too many modules or parameters, or takes too long.

    >>> with bounded_building():
    ...     _ = torch.nn.Linear(2, 3)
    """
    thread, began = threading.get_ident(), time.monotonic()
    modules = parameters = 0

    def count_module(owner: torch.nn.Module, name: str, module: torch.nn.Module | None) -> None:
        nonlocal modules
        if threading.get_ident() != thread:
            return
        modules += 1
        if modules > MAX_MODULES:
            raise ModelError(f"it would have more modules than the {MAX_MODULES:,} that are built")
        if time.monotonic() - began > MAX_SECONDS:
            raise ModelError(f"it takes more than {MAX_SECONDS:.0f} s to build")

    def count_numbers(owner: torch.nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        nonlocal parameters
        if threading.get_ident() != thread or tensor is None:
            return
        parameters += tensor.numel()
        if parameters > MAX_PARAMETERS:
            raise ModelError(f"it would have more parameters than the {MAX_PARAMETERS:,} that are built")

    handles = [
        hooks.register_module_module_registration_hook(count_module),
        hooks.register_module_parameter_registration_hook(count_numbers),
        hooks.register_module_buffer_registration_hook(count_numbers),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Followed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count what the steps of a forward pass would write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.steps = 0
        self.began = time.monotonic()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        made = function(*arguments, **(keywords or {}))
        self.steps += 1
        self.bytes += sum(leaf.nbytes for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor))
        if self.bytes > MAX_ACTIVATIONS:
            raise ModelError(
                f"an image would take it more than {MAX_ACTIVATIONS:,} bytes of intermediate results"
            )
        if self.steps > MAX_OPERATIONS or time.monotonic() - self.began > MAX_SECONDS:
            raise ModelError(f"an image would take it more than {MAX_OPERATIONS:,} steps")
        return made


def require_moderate_pass(network: torch.nn.Module, shape: tuple[int, ...]) -> None:
    """Follow a forward pass of a network on the meta device, which computes no numbers.

    Args:
        network: on the meta device.
        shape: of its input, (1, channels, height, width).

    Raises:
        ModelError: it would write too much or take too many steps.

    >>> with torch.device("meta"):
    ...     require_moderate_pass(torch.nn.Conv2d(3, 8, 3), (1, 3, 32, 32))
    """
    try:
        with torch.no_grad(), _Followed():
            network(torch.empty(shape, device="meta"))
    except ModelError:
        raise
    except Exception as error:  # it asks for numbers on its way, which there are none of
        if "overflow" in str(error):  # torch cannot even count the bytes
            raise ModelError(f"an image would take it more memory than can be counted: {error}") from error
