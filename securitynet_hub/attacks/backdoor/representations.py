"""What a network's layers answer: the activations that representation-based detectors look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from securitynet_hub.core.errors import ModelError
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.engine.inference import BATCH_SIZE, predict_module
from securitynet_hub.models.target import Target

Activations = npt.NDArray[np.float32]


def penultimate(target: Target, pixels: Pixels, *, batch_size: int = BATCH_SIZE) -> Activations:
    """Return what goes into the last layer with parameters, flattened, shape (n, features).

    >>> from securitynet_hub import load_target
    >>> penultimate(load_target("zoo/fashion-mnist/bn-cnn-clean/1"), np.zeros((2, 28, 28, 1), np.uint8)).shape
    (2, 44)
    """
    head = _layers(target)[-1]
    return predict_module(
        _Tap(target.module, [head], inputs=True), target.transform, pixels, batch_size=batch_size
    )


def every_layer(target: Target, pixels: Pixels, *, batch_size: int = BATCH_SIZE) -> list[Activations]:
    """Return what each layer with parameters answers, from the first to the last, shape (n, features) each.

    Maps of more than 4 x 4 positions are averaged down to so many: where something is stays visible, and a
    thousand images of a large network fit into memory.

    >>> from securitynet_hub import load_target
    >>> black = np.zeros((2, 28, 28, 1), np.uint8)
    >>> [part.shape[1] for part in every_layer(load_target("zoo/fashion-mnist/cnn-clean/1"), black)]
    [256, 512, 10]
    """
    tap = _Tap(target.module, _layers(target), inputs=False)
    together = predict_module(tap, target.transform, pixels, batch_size=batch_size)
    return np.split(together, np.cumsum(tap.widths)[:-1], axis=1)


def batch_norms(module: torch.nn.Module) -> list[Any]:
    """List the BatchNorm layers with parameters, in the order in which they are registered."""
    return [part for part in module.modules() if isinstance(part, BatchNorm) and part.affine]


def _layers(target: Target) -> list[torch.nn.Module]:
    """List the modules that hold parameters themselves, in the order in which they are registered."""
    found = [part for part in target.module.modules() if any(True for _ in part.parameters(recurse=False))]
    if not found:
        raise ModelError(f"{target.id} has no layer with parameters.")
    return found


class _Tap(torch.nn.Module):
    """A network that answers with the activations of some of its layers, those of an image in one row."""

    def __init__(self, module: torch.nn.Module, layers: Sequence[torch.nn.Module], *, inputs: bool) -> None:
        super().__init__()
        self.train(module.training)
        self.module, self._layers, self._inputs = module, tuple(layers), inputs
        self.widths: list[int] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        seen: dict[int, torch.Tensor] = {}

        def keep(number: int, value: torch.Tensor) -> None:
            if isinstance(value, torch.Tensor) and len(value) == len(batch):
                seen[number] = value if self._inputs else _pooled(value)

        hooks = [
            layer.register_forward_hook(
                lambda _, taken, given, n=number: keep(n, taken[0] if self._inputs else given)
            )
            for number, layer in enumerate(self._layers)
        ]
        try:
            self.module(batch)
        finally:
            for hook in hooks:
                hook.remove()
        parts = [seen[number].flatten(1) for number in sorted(seen)]
        if not parts:
            raise ModelError("no layer with parameters was asked for an answer to these images.")
        self.widths = [part.shape[1] for part in parts]
        return torch.cat(parts, 1)


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    if maps.ndim == 4 and maps.shape[2] * maps.shape[3] > 16:
        return torch.nn.functional.adaptive_avg_pool2d(maps, 4)
    return maps
