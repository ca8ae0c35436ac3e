"""Residual networks for images and volumes, with the layouts and names of published weights.

He et al. 2016 (arXiv 1512.03385); bottlenecks stride in their 3 x 3 convolution. Volumes take one of three
convolutions (Yang et al. 2021, arXiv 1911.10477): full (``3d``), flat (``2.5d``) or axial, coronal and
sagittal (``acs``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Convolution = Callable[..., nn.Module]


class AcsConv(nn.Conv2d):
    """Convolve volumes with 2-D kernels, a third of them each on axial, coronal and sagittal planes.

    If the number of outputs is not divisible by three, the first planes get one more.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (n, in, depth, height, width) to (n, out, depth', height', width')."""
        third, rest = divmod(self.out_channels, 3)
        kernels = torch.split(self.weight, [third + (rest > 0), third + (rest > 1), third])
        padding = int(self.padding[0])
        outputs = []
        for axis, kernel in enumerate(kernels):
            pads = [padding] * 3
            pads[axis] = 0  # the kernel is flat along this axis
            outputs.append(
                functional.conv3d(
                    input, kernel.unsqueeze(2 + axis), stride=[self.stride[0]] * 3, padding=pads
                )
            )
        return torch.cat(outputs, 1)


def flat_conv(
    channels_in: int, channels_out: int, size: int, *, padding: int = 0, **options: Any
) -> nn.Conv3d:
    """Return a 3-D convolution whose kernel is one slice thick; it strides along all three axes."""
    return nn.Conv3d(channels_in, channels_out, (1, size, size), padding=(0, padding, padding), **options)


CONVOLUTIONS: dict[str | None, Convolution] = {
    None: nn.Conv2d,
    "2.5d": flat_conv,
    "3d": nn.Conv3d,
    "acs": AcsConv,
}
"""Convolutions by the annotation's ``variant``; None is for images."""


class Block(nn.Module):
    """Add convolutions with BatchNorm to their input, which a 1 x 1 convolution fits where shapes differ.

    Args:
        channels_in: channels of the input.
        shapes: channels, kernel size, stride and groups of each convolution.
        conv: makes a convolution.
        norm: makes a normalisation.
        shortcut: name of the part that fits the input.
    """

    def __init__(
        self,
        channels_in: int,
        shapes: list[tuple[int, int, int, int]],
        *,
        conv: Convolution,
        norm: Callable[[int], nn.Module],
        shortcut: str,
    ) -> None:
        super().__init__()
        channels, stride = channels_in, 1
        for number, (width, size, step, groups) in enumerate(shapes, start=1):
            # AcsConv knows no groups, and needs none.
            extra = {"groups": groups} if groups != 1 else {}
            options = {"stride": step, "padding": size // 2, "bias": False, **extra}
            self.add_module(f"conv{number}", conv(channels, width, size, **options))
            self.add_module(f"bn{number}", norm(width))
            channels, stride = width, stride * step
        self.length = len(shapes)
        self.shortcut_name = shortcut
        if stride != 1 or channels != channels_in:
            fit = conv(channels_in, channels, 1, stride=stride, bias=False)
            self.add_module(shortcut, nn.Sequential(fit, norm(channels)))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return relu(convolutions(input) + fitted input)."""
        output = input
        for number in range(1, self.length + 1):
            output = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(output))
            if number < self.length:
                output = functional.relu(output)
        fit = self._modules.get(self.shortcut_name)
        return functional.relu(output + (input if fit is None else fit(input)))


class ResNet(nn.Module):
    """A residual network of four stages.

    Args:
        num_classes: number of classes.
        depths: blocks in each stage.
        bottleneck: blocks of 1 x 1, 3 x 3, 1 x 1 convolutions (four times as wide outside) rather than two.
        width: channels of the stem and the first stage; each further stage doubles them.
        small: for small images: a 3 x 3 stem instead of a strided 7 x 7 one with max pooling.
        variant: convolution of a network for volumes; None for images.
        groups: groups of a bottleneck's 3 x 3 convolution.
        group_width: channels of each of these groups in a first stage of 64.
        head: name of the linear layer.
        shortcut: name of the parts that fit a block's input to its output.
    """

    def __init__(
        self,
        num_classes: int,
        depths: tuple[int, int, int, int],
        *,
        bottleneck: bool,
        width: int = 64,
        small: bool = True,
        variant: str | None = None,
        groups: int = 1,
        group_width: int = 64,
        head: str = "linear",
        shortcut: str = "shortcut",
    ) -> None:
        super().__init__()
        conv = CONVOLUTIONS[variant]
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d if variant is None else nn.BatchNorm3d
        size, stride = (3, 1) if small else (7, 2)
        self.conv1 = conv(3, width, size, stride=stride, padding=size // 2, bias=False)
        self.bn1 = norm(width)
        channels = width
        for stage, depth in enumerate(depths):
            planes = width << stage
            inner = planes * group_width // 64 * groups
            blocks = []
            for number in range(depth):
                step = 2 if stage and not number else 1
                shapes = [(planes, 3, step, 1), (planes, 3, 1, 1)]
                if bottleneck:
                    shapes = [(inner, 1, 1, 1), (inner, 3, step, groups), (4 * planes, 1, 1, 1)]
                blocks.append(Block(channels, shapes, conv=conv, norm=norm, shortcut=shortcut))
                channels = shapes[-1][0]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.add_module(head, nn.Linear(channels, num_classes))
        self.head_name = head
        self.small = small

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, [depth,] height, width) to logits (n, classes)."""
        output = functional.relu(self.bn1(self.conv1(input)))
        if not self.small:
            output = functional.max_pool2d(output, 3, stride=2, padding=1)
        for stage in range(1, 5):
            output = self.get_submodule(f"layer{stage}")(output)
        logits: torch.Tensor = self.get_submodule(self.head_name)(output.flatten(2).mean(2))
        return logits


DEPTHS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet50": ((3, 4, 6, 3), True),
}
"""Blocks in each stage, and whether they are bottlenecks, by name."""

TORCHVISION: dict[str, tuple[str, int, int]] = {
    "resnet18": ("resnet18", 1, 64),
    "resnet50": ("resnet50", 1, 64),
    "resnext50_32x4d": ("resnet50", 32, 4),
    "wide_resnet50_2": ("resnet50", 1, 128),
    "wide_resnet50_4": ("resnet50", 1, 256),
}
"""Depths, groups and their width of the networks in torchvision's layout, by name."""


def torchvision_resnet(name: str, num_classes: int) -> ResNet:
    """Build a network with torchvision's names and shapes, without torchvision.

    >>> sum(weight.numel() for weight in torchvision_resnet("resnet18", 1000).parameters())
    11689512
    """
    depths, groups, group_width = TORCHVISION[name]
    length, bottleneck = DEPTHS[depths]
    return ResNet(
        num_classes,
        length,
        bottleneck=bottleneck,
        small=False,
        groups=groups,
        group_width=group_width,
        head="fc",
        shortcut="downsample",
    )
