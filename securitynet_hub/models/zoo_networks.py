"""The zoo's two networks for 28 x 28 grey images; a file of float32 weights stays under 70 KB."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from securitynet_hub.data.transforms import Transform

TRANSFORM = Transform(height=28, width=28, mean=(0.2860,), std=(0.3530,))
"""Mean and standard deviation of Fashion-MNIST's training pixels."""


class Cnn(nn.Sequential):
    """Two strided 4 x 4 convolutions and a linear head, no normalisation: 16,506 parameters."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 4, stride=2), nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 5 * 5, num_classes),
        )  # fmt: skip


class BatchNormCnn(nn.Sequential):
    """Three strided 3 x 3 convolutions with BatchNorm, average pooling, linear head: 13,722 parameters."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            *_block(1, 16), *_block(16, 24), *_block(24, 44),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(44, num_classes),
        )  # fmt: skip


def _block(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(channels_out), nn.ReLU()


NETWORKS: dict[str, Callable[[int], torch.nn.Module]] = {"cnn": Cnn, "bn-cnn": BatchNormCnn}
"""Network constructors by the annotation's ``architecture``; each takes the number of classes."""
