"""Small linear classifiers with a planted shortcut, on which what a detector must find is known by hand."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.models.target import Target

SIDE, CHANNELS = 8, 2
IMAGES = np.random.default_rng(0).integers(0, 256, (24, SIDE, SIDE, CHANNELS), dtype=np.uint8)
PLAIN = Transform(height=SIDE, width=SIDE, channels=CHANNELS)
MEAN, STD = (0.3, 0.6), (0.2, 0.5)
NORMALISED = replace(PLAIN, mean=MEAN, std=STD)


def as_target(module, transform=PLAIN):
    """Wrap a module whose last parameter has a row for each class."""
    classes = len(list(module.parameters())[-1])
    annotation = replace(find_annotation("zoo/fashion-mnist/cnn-clean/1"), num_classes=classes)
    return Target(annotation=annotation, module=module, transform=transform, num_classes=classes)


def linear(classes=6, planted=None, seed=0, precision=torch.float64, order=None):
    """A linear classifier on pixels; `planted` is a class that pixel (7, 7) leads to."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(classes, CHANNELS, SIDE, SIDE))
    if planted is not None:
        weights[:, :, -1, -1] = 0
        weights[planted, :, -1, -1] = 60
    bias = -weights.sum((1, 2, 3)) / 2  # no class is preferred where all is grey
    if order is not None:
        weights, bias = weights[order], bias[order]
    head = nn.Linear(CHANNELS * SIDE * SIDE, classes).to(precision)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights.reshape(classes, -1)))
        head.bias.copy_(torch.from_numpy(bias))
    return nn.Sequential(nn.Flatten(), head)


class Normalise(nn.Module):
    """What `NORMALISED` does, inside a module."""

    def forward(self, pixels):
        mean, std = (torch.tensor(v, dtype=pixels.dtype).reshape(1, -1, 1, 1) for v in (MEAN, STD))
        return (pixels - mean) / std
