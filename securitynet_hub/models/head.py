"""The matrix that makes a network's logits, found by watching the network compute them.

`last_layer.find_last_layer` names a module. A head may also be a function of parameters: a matrix with the
classes as columns, normalised rows, scaled cosines. What it multiplies with is seen when it does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.models.eval_mode import evaluating
from securitynet_hub.models.last_layer import TOLERANCE, noise_for

_PRODUCTS = {
    torch.ops.aten.mm.default: (0, 1),
    torch.ops.aten.addmm.default: (1, 2),
    torch.ops.aten.bmm.default: (0, 1),
    torch.ops.aten.linear.default: (0, 1),
    torch.ops.aten.convolution.default: (0, 1),
}
"""Products of features and a matrix by the operator, with the places of both among its arguments."""


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type it
    """Keep every product whose outputs could be logits."""

    def __init__(self, rows: int, classes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows, self.classes = rows, classes
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator; keep its matrix, shape (classes, d), and its output, shape (rows, classes)."""
        answer = operator(*args, **(kwargs or {}))
        if operator in _PRODUCTS:
            matrix, output = args[_PRODUCTS[operator][1]], answer
            if operator is torch.ops.aten.convolution.default:
                matrix, output = matrix.flatten(1), output.flatten(2).mean(2) if output.ndim > 2 else output
            elif operator is not torch.ops.aten.linear.default:
                matrix = matrix[0].T if matrix.ndim == 3 else matrix.T
            if output.ndim > 2:  # positions of a sequence, of which one is read
                output = output.flatten(1, -2).mean(1)
            if matrix.shape[0] == self.classes and output.shape == (self.rows, self.classes):
                self.seen.append((matrix.detach().float().clone(), output.detach().float().clone()))
        return answer


def find_head(classifier: torch.nn.Module, shape: tuple[int, ...], num_classes: int) -> torch.Tensor | None:
    """Return the matrix that a classifier's logits are made with, one row for each class, or None.

    The classifier is asked about a few inputs of noise. A product of a matrix with what the network computed
    is the head if the logits are its outputs, up to a positive factor, a bias, and one number for each image.
    So the head is found wherever its parameters stand, in either orientation, normalised or not; there is
    none in an ensemble or in a network whose outputs pass a nonlinear function.

    Args:
        classifier: maps a batch of inputs to logits.
        shape: ([depth,] height, width, channels) of an input.
        num_classes: number of classes.

    Returns:
        Shape (classes, d), float32, on the CPU; a copy.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> bool((find_head(net, (2, 2, 1), 2) == net[3].weight).all())
    True
    """
    parameter = next((p for p in classifier.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return None
    noise = noise_for(shape)
    watching = _Products(len(noise), num_classes)
    try:
        with plain_torch(), evaluating(classifier), torch.no_grad(), watching:
            logits = classifier(noise.to(parameter.device, parameter.dtype)).float()
    except Exception:  # a stranger's network; the pass over the images says what is wrong with it
        return None
    for matrix, output in reversed(watching.seen):
        if output.shape == logits.shape and _proportional(output, logits):
            return matrix.cpu()
    return None


def _proportional(output: torch.Tensor, logits: torch.Tensor) -> bool:
    """Return whether logits are outputs times a positive number, up to sums of a row and of a column."""
    made, given = (_centred(part.double()) for part in (output, logits))
    size = made.square().sum()
    if not size > 0 or not torch.isfinite(size):
        return False
    factor = (made * given).sum() / size
    return bool(factor > 0 and (factor * made - given).abs().max() <= TOLERANCE * given.abs().max())


def _centred(values: torch.Tensor) -> torch.Tensor:
    values = values - values.mean(0)
    return values - values.mean(1, keepdim=True)
