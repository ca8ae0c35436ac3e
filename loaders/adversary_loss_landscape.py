"""Networks adversarially trained on CIFAR-10 by Liu et al. 2020 (arXiv 2006.08403), in width 8.

They take pixels in [0, 1] as they are. Three runs of each are told apart by the annotation's seed.
"""

from __future__ import annotations

import torch
from torch import nn

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.resnets import DEPTHS, ResNet

WIDTH = 32
"""Channels of the first layers: four for each unit of the publisher's width."""

STAGES = (2, 2, 3, 3, 3)
"""The VGG's convolutions before each pooling."""


class Vgg(nn.Module):
    """Thirteen 3 x 3 convolutions with BatchNorm in five stages, average pooling, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage, length in enumerate(STAGES):
            width = WIDTH * min(2**stage, 8)
            for _ in range(length):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.feature_extractor = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, 32, 32) to logits (n, classes)."""
        logits: torch.Tensor = self.classifier(self.feature_extractor(input).flatten(2).mean(2))
        return logits


def build(annotation: Annotation) -> tuple[torch.nn.Module, Transform]:
    """Return the annotated network of width 8, and its preprocessing."""
    transform = preprocessing(annotation)
    if annotation.architecture == "cifar10_vgg":
        return Vgg(annotation.num_classes), transform
    depths, bottleneck = DEPTHS["resnet18"]
    network = ResNet(annotation.num_classes, depths, bottleneck=bottleneck, width=WIDTH, head="classifier")
    return network, transform


def preprocessing(annotation: Annotation) -> Transform:
    """Return the preprocessing: pixels in [0, 1]."""
    return Transform(height=32, width=32, channels=3)
