"""Copies of networks that give gradients for their inputs, and for nothing else, as fast as a CPU can.

Inverting a trigger takes thousands of such gradients through weights that never change. On a CPU convolutions
with few channels spend most of that time in two places: in layouts with the channels first, and in the
gradient for an image of one or three channels. The copies have their channels last, and take that gradient as
a product of matrices. What they answer is the same but for rounding.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from securitynet_hub.engine.memory_format import with_channels_last

FEW_CHANNELS = 4
"""Up to so many channels the gradient for a convolution's input is taken as a product of matrices."""


def for_input_gradients(module: torch.nn.Module, inputs: torch.Tensor) -> torch.nn.Module:
    """Return a copy in eval mode, with frozen parameters, whose gradients for inputs are fast on a CPU.

    The module itself stays as it is. On other devices, and of a module that cannot be copied, it is returned
    itself; `pixel_space.frozen` is what freezes it then.

    Args:
        module: maps inputs to logits.
        inputs: some of its inputs, by which it is seen whether it takes images with their channels last.

    >>> module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, stride=2, padding=1), torch.nn.Flatten())
    >>> x = torch.rand(5, 1, 8, 8, requires_grad=True)
    >>> pair = module, for_input_gradients(module, x)
    >>> slopes = [torch.autograd.grad((network(x) ** 2).sum(), x)[0] for network in pair]
    >>> torch.allclose(*slopes, atol=1e-5)
    True
    """
    if any(parameter.device.type != "cpu" for parameter in module.parameters()):
        return module
    try:
        copied: torch.nn.Module = copy.deepcopy(module)
    except (RuntimeError, TypeError):  # a tensor with a history, or something that cannot be pickled
        return module
    copied.eval().requires_grad_(False)
    with_channels_last(copied, inputs[:1].detach())
    for part in copied.modules():
        if type(part) is torch.nn.Conv2d and _is_plain(part):
            part.__class__ = _Convolution  # what hooks, shares or reads it stays
    return copied


def _is_plain(part: torch.nn.Conv2d) -> bool:
    few = part.groups == 1 and part.in_channels <= FEW_CHANNELS
    return few and part.padding_mode == "zeros" and not isinstance(part.padding, str)


class _Convolution(torch.nn.Conv2d):
    """A convolution of images with few channels."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        settings = self.stride, self.padding, self.dilation
        answer: torch.Tensor = _Convolve.apply(inputs, self.weight, self.bias, *settings)  # type: ignore[no-untyped-call]
        return answer


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
    ) -> torch.Tensor:
        context.save_for_backward(weight)
        context.shape, context.settings = inputs.shape[2:], (dilation, padding, stride)
        return torch.nn.functional.conv2d(inputs, weight, bias, stride, padding, dilation)

    @staticmethod
    def backward(context: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Give each position's patch of the input its share, and add the patches up where they overlap."""
        (weight,), slope = context.saved_tensors, slopes[0]
        height, width = context.shape
        (down, right), (top, left), (below, beside) = context.settings
        images, outputs, rows, columns = slope.shape
        by_place = weight.permute(2, 3, 1, 0).reshape(-1, outputs)
        shares = by_place @ slope.permute(0, 2, 3, 1).reshape(-1, outputs).T
        shares = shares.reshape(*weight.shape[2:], weight.shape[1], images, rows, columns)
        found = slope.new_zeros(weight.shape[1], images, height + 2 * top, width + 2 * left)
        for i, part in enumerate(shares):
            for j, share in enumerate(part):
                across = slice(i * down, i * down + below * (rows - 1) + 1, below)
                along = slice(j * right, j * right + beside * (columns - 1) + 1, beside)
                found[..., across, along] += share
        found = found[..., top : top + height, left : left + width].transpose(0, 1)
        return found, None, None, None, None, None
