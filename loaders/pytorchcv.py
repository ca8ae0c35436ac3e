"""imgclsmob's models (O. Semery, https://github.com/osmr/imgclsmob), as the package pytorchcv defines them.

Only the module that defines a network is imported: the package's own `model_provider` needs torchvision, and
its download function unpickles and extracts whatever it is given. Preprocessing is imgclsmob's, which the
package does not carry.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import MissingPackageError, ModelError, UnknownNameError
from securitynet_hub.data.transforms import Transform

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Also for SVHN, as its publisher has it."""
HALF = (0.5, 0.5, 0.5)
"""Mean and std of the EfficientNets converted from timm's AdvProp and EdgeTPU weights, as timm has them."""

CROP = 0.875
"""Share of the shorter side that stays after the crop."""

CROPS = {240: 0.882, 260: 0.89, 300: 0.904, 380: 0.922, 456: 0.934, 528: 0.942, 600: 0.949, 672: 0.954}
"""The same for EfficientNets, by the side of their images."""

EXPORTS = re.compile(r"^__all__ = \[(.*?)\]", re.MULTILINE | re.DOTALL)


def build(annotation: Annotation) -> tuple[torch.nn.Module, Transform]:
    """Return the annotated network, and its preprocessing by the size of its images."""
    transform, side = preprocessing(annotation), annotation.image_size
    make = constructor(annotation.constructor or annotation.architecture)
    module = make(num_classes=annotation.num_classes)
    if getattr(module, "in_size", (side, side)) != (side, side):
        raise ModelError(
            f"{annotation.id} is annotated with images of {side} x {side}; pytorchcv builds it for "
            f"{module.in_size}."
        )
    return module, transform


def preprocessing(annotation: Annotation) -> Transform:
    """Return imgclsmob's preprocessing for images of the annotated size."""
    side = annotation.image_size
    if side is None:
        raise ModelError(f"{annotation.id} has no image_size; a network of pytorchcv needs one.")
    if side == 32:
        return Transform(height=side, width=side, mean=CIFAR_MEAN, std=CIFAR_STD)
    resize = math.ceil(side / CROPS.get(side, CROP))
    nonstandard = "preprocessing-nonstandard" in annotation.flags
    mean, std = (HALF, HALF) if nonstandard else (IMAGENET_MEAN, IMAGENET_STD)
    return Transform(height=side, width=side, resize=resize, mean=mean, std=std)


def constructor(name: str) -> Callable[..., torch.nn.Module]:
    """Return the function of pytorchcv that builds a network.

    Raises:
        MissingPackageError: pytorchcv is not installed.
        UnknownNameError: it defines no such network.
    """
    homes = defining_modules()
    if name not in homes:
        raise UnknownNameError("network in pytorchcv", name, homes)
    make: Callable[..., torch.nn.Module] = getattr(importlib.import_module(homes[name]), name)
    return make


@lru_cache(maxsize=1)
def defining_modules() -> dict[str, str]:
    """Map each name that pytorchcv's model files export to its module, without importing any of them."""
    spec = find_spec("pytorchcv")
    if spec is None or spec.origin is None:
        raise MissingPackageError(
            "this model's network is defined in pytorchcv, which is not installed. Install it without its "
            "dependencies, which would replace torch: pip install --no-deps pytorchcv"
        )
    homes: dict[str, str] = {}
    for path in sorted((Path(spec.origin).parent / "models").glob("*.py")):
        exports = EXPORTS.search(path.read_text(encoding="utf-8"))
        for name in re.findall(r"['\"](\w+)['\"]", exports[1] if exports else ""):
            homes[name] = f"pytorchcv.models.{path.stem}"
    return homes
