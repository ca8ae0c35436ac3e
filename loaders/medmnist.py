"""MedMNIST v2's ResNet-18 and ResNet-50 (Yang et al. 2023, arXiv 2110.14795), always with three channels.

Images of 28 x 28 have networks with a small stem, those of 224 x 224 (enlarged from 28, each pixel repeated)
torchvision's layout; both are normalised with 0.5 and 0.5. Volumes of 28 x 28 x 28 are not normalised; the
two sets of shapes, whose voxels are 0 or 255, are halved, as their publisher does for its test images.
"""

from __future__ import annotations

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.resnets import DEPTHS, ResNet, torchvision_resnet

SHAPE_SETS = ("AdrenalMNIST3D", "VesselMNIST3D")
HALF = (0.5, 0.5, 0.5)


def build(annotation: Annotation) -> tuple[torch.nn.Module, Transform]:
    """Return the network for the annotated images or volumes, and its preprocessing."""
    side, transform = annotation.image_size or 28, preprocessing(annotation)
    if annotation.input_dims != 3 and side != 28:
        return torchvision_resnet(annotation.architecture, annotation.num_classes), transform
    depths, bottleneck = DEPTHS[annotation.architecture]
    return ResNet(
        annotation.num_classes, depths, bottleneck=bottleneck, variant=annotation.variant
    ), transform


def preprocessing(annotation: Annotation) -> Transform:
    """Return the preprocessing for images or volumes of the annotated size."""
    side = annotation.image_size or 28
    if annotation.input_dims == 3:
        factor = 0.5 if annotation.dataset in SHAPE_SETS else 1.0
        return Transform(depth=side, height=side, width=side, channels=3, factor=factor)
    resize = None if side == 28 else (side, side)
    return Transform(height=side, width=side, resize=resize, interpolation="nearest", mean=HALF, std=HALF)
