"""ImageNet-1k classifiers of torchvision, each as its weights enum describes it.

Networks and preprocessing are torchvision's own; the weights come as every other source's do: verified, and
never unpickled by torchvision.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.optional import import_network
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.state import state_dict as plain_state_dict

IMPLIED: dict[str, dict[str, bool]] = {
    "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}
"""What torchvision sets when it loads weights, beside the size of a vision transformer's image."""

RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(\.mlp\.)linear_1\."), r"\g<1>0."),
    (re.compile(r"(\.mlp\.)linear_2\."), r"\g<1>3."),
)
"""Names that published files still have, of DenseNets and of vision transformers."""


def build(annotation: Annotation) -> tuple[torch.nn.Module, Transform]:
    """Return the network of the annotated weights, and the preprocessing that belongs to them.

    Raises:
        MissingPackageError: torchvision is missing, or was built for another torch.
        ModelError: this torchvision does not know the weights, or describes them otherwise.
    """
    models = import_network("torchvision.models", annotation.architecture)
    try:
        weights = models.get_weight(annotation.upstream_name)
        arguments: dict[str, Any] = dict(IMPLIED.get(annotation.architecture, {}))
        if annotation.architecture.startswith("vit_"):
            arguments["image_size"] = weights.meta["min_size"][0]
        module: torch.nn.Module = models.get_model(
            annotation.architecture, weights=None, num_classes=annotation.num_classes, **arguments
        )
    except (ValueError, KeyError, AttributeError) as error:
        version = importlib.import_module("torchvision").__version__
        raise ModelError(
            f"torchvision {version} does not know {annotation.upstream_name}: {error}"
        ) from error
    (side,) = weights.transforms().crop_size
    parameters = sum(parameter.numel() for parameter in module.parameters())
    stated = (len(weights.meta["categories"]), side, weights.meta["num_params"])
    annotated = (annotation.num_classes, annotation.image_size, annotation.num_parameters)
    if not stated == annotated == (annotation.num_classes, side, parameters):
        raise ModelError(
            f"{annotation.id} is annotated with classes, pixels and parameters {annotated}; torchvision "
            f"states {stated} and builds {parameters} parameters."
        )
    return module, preprocessing(weights.transforms())


def preprocessing(preset: Any) -> Transform:
    """Return what one of torchvision's presets for classification does."""
    (side,), (resize,) = preset.crop_size, preset.resize_size
    return Transform(
        height=side,
        width=side,
        resize=resize,
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def class_names(annotation: Annotation) -> tuple[str, ...]:
    """Return the categories that the weights' enum states."""
    models = import_network("torchvision.models", annotation.architecture)
    return tuple(models.get_weight(annotation.upstream_name).meta["categories"])


def state_dict(checkpoint: Mapping[str, Any], annotation: Annotation) -> dict[str, torch.Tensor]:
    """Give the tensors the names of today's networks; GoogLeNet's untrained auxiliary heads are left."""
    tensors = {_renamed(name): tensor for name, tensor in plain_state_dict(checkpoint, annotation).items()}
    if annotation.architecture == "googlenet":
        tensors = {
            name: tensor for name, tensor in tensors.items() if not name.startswith(("aux1.", "aux2."))
        }
    return tensors


def _renamed(name: str) -> str:
    for published, current in RENAMED:
        name = published.sub(current, name)
    return name
