"""A module's eval mode, for as long as it is asked something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Put a module into eval mode within the block; restore the flag of each submodule afterwards."""
    flags = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in flags.items():
            part.training = training


@contextmanager
def frozen(module: torch.nn.Module) -> Iterator[None]:
    """Put a module in eval mode with gradients for its inputs only; restore everything afterwards."""
    wanted = {parameter: parameter.requires_grad for parameter in module.parameters()}
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        with evaluating(module), torch.enable_grad():
            yield
    finally:
        for parameter, requires_grad in wanted.items():
            parameter.requires_grad_(requires_grad)


def some_parameter(module: torch.nn.Module) -> torch.Tensor:
    """Return a parameter, for its device and precision; a float on the CPU where there is none."""
    return next((p.detach() for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
