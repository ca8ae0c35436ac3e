"""The corpus's three architectures, for images of any number of channels and classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from securitynet_hub.data.transforms import Transform


class PlainCnn(nn.Sequential):
    """Two strided 4 x 4 convolutions and two linear layers: 0.3 M parameters at 32 x 32."""

    def __init__(self, channels: int, side: int, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 32, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * (side // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, num_classes),
        )  # fmt: skip


class StridedCnn(nn.Sequential):
    """Three strided convolutions of 5, 3 and 3 pixels with BatchNorm, linear head: 0.07 M parameters."""

    def __init__(self, channels: int, side: int, num_classes: int) -> None:
        super().__init__(
            *_block(channels, 32, 5), *_block(32, 64), *_block(64, 64),
            nn.Flatten(), nn.Linear(64 * (-(-side // 8)) ** 2, num_classes),
        )  # fmt: skip


class ResidualCnn(nn.Sequential):
    """A strided stem and three residual blocks of 32, 64 and 96 channels: 0.22 M parameters."""

    def __init__(self, channels: int, side: int, num_classes: int) -> None:
        super().__init__(
            *_block(channels, 32),
            ResidualBlock(32, 32, 1), ResidualBlock(32, 64, 2), ResidualBlock(64, 96, 2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, num_classes),
        )  # fmt: skip


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm, added to their input (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels:
            convolution = nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return relu(convolutions(input) + shortcut(input))."""
        output = functional.relu(self.bn1(self.conv1(input)))
        return functional.relu(self.bn2(self.conv2(output)) + self.shortcut(input))


def _block(channels_in: int, channels_out: int, size: int = 3) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels_in, channels_out, size, stride=2, padding=size // 2, bias=False)
    return convolution, nn.BatchNorm2d(channels_out), nn.ReLU()


ARCHITECTURES: dict[str, Callable[[int, int, int], nn.Sequential]] = {
    "plain-cnn": PlainCnn,
    "strided-bn-cnn": StridedCnn,
    "residual-cnn": ResidualCnn,
}
"""Network constructors by name; each takes channels, side in pixels and number of classes."""


def build_network(architecture: str, transform: Transform, num_classes: int) -> nn.Sequential:
    """Build a network with initial weights for the images of a preprocessing.

    Its last part is its last linear layer.

    >>> from securitynet_hub.zoo.corpus.images import COLOUR
    >>> network = build_network("residual-cnn", COLOUR, 10)
    >>> sum(parameter.numel() for parameter in network.parameters()), tuple(network[-1].weight.shape)
    (223146, (10, 96))
    """
    return ARCHITECTURES[architecture](transform.shape[2], transform.height, num_classes)
