"""ImageNet models of Salman et al. 2020 (arXiv 2007.08489), saved by MadryLab's package robustness.

The checkpoint holds more than the network: the wrapper's normaliser, which is checked against the
preprocessing here, and an attacker with a copy of the network, which is checked to be one and left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.optional import import_network
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.resnets import TORCHVISION, torchvision_resnet
from securitynet_hub.models.state import listed

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
ROOT = "module."
PREFIXES = ("module.model.model.", "module.model.")
"""Where the network lies: some were wrapped once more. The longer one comes first, as it starts alike."""

CONSTRUCTORS = {"mnasnet": "mnasnet1_0"}
"""torchvision's names where they differ from the publisher's."""
NORMALISERS = ("module.normalizer.", "module.attacker.normalize.")


def build(annotation: Annotation) -> tuple[torch.nn.Module, Transform]:
    """Return torchvision's network of the annotated architecture, and its preprocessing.

    Residual networks are built here; torchvision is imported for the others only.
    """
    transform = preprocessing(annotation)
    name, classes = annotation.architecture, annotation.num_classes
    if name in TORCHVISION:
        return torchvision_resnet(name, classes), transform
    models = import_network("torchvision.models", name)
    module: torch.nn.Module = getattr(models, CONSTRUCTORS.get(name, name))(weights=None, num_classes=classes)
    return module, transform


def preprocessing(annotation: Annotation) -> Transform:
    """Return the preprocessing for the annotated size: robustness's, with its wrapper's normaliser."""
    side = annotation.image_size or 224
    return Transform(height=side, width=side, resize=side * 256 // 224, mean=MEAN, std=STD)


def state_dict(checkpoint: Mapping[str, Any], annotation: Annotation) -> dict[str, torch.Tensor]:
    """Pick the network's tensors, after checking the wrapper's other entries.

    Raises:
        WeightsError: the normaliser has another mean or std, the attacker's network is not a copy, or there
            are entries that belong to neither.
    """
    model = checkpoint.get("model")
    if not isinstance(model, Mapping):
        raise WeightsError(f"{annotation.id}: there is no 'model' in the checkpoint: {listed(checkpoint)}.")
    prefix = annotation.weights_key_prefix or next(
        (p for p in PREFIXES if any(key.startswith(p) for key in model)), PREFIXES[-1]
    )
    attacker = f"{ROOT}attacker.{prefix.removeprefix(ROOT)}"
    tensors = {key.removeprefix(prefix): value for key, value in model.items() if key.startswith(prefix)}
    copies = {key.removeprefix(attacker): value for key, value in model.items() if key.startswith(attacker)}
    strange = [key for key in model if not key.startswith((prefix, attacker)) and not _is_normaliser(key)]
    if strange:
        raise WeightsError(
            f"{annotation.id}: these entries belong neither to the network ({prefix}), nor to the attacker, "
            f"nor to a normaliser: {listed(strange)}."
        )
    if copies:
        differing = sorted(
            key
            for key in tensors.keys() | copies.keys()
            if key not in tensors or key not in copies or not torch.equal(tensors[key], copies[key])
        )
        if differing:
            raise WeightsError(
                f"{annotation.id}: the attacker's network is not a copy of the model's: {listed(differing)}."
            )
    _check_normalisers(model, annotation)
    return tensors


def _is_normaliser(key: str) -> bool:
    return key in {place + name for place in NORMALISERS for name in ("new_mean", "new_std")}


def _check_normalisers(model: Mapping[str, torch.Tensor], annotation: Annotation) -> None:
    """Check that what the wrapper subtracts and divides by is what the transform does."""
    for place in NORMALISERS:
        for name, expected in (("new_mean", MEAN), ("new_std", STD)):
            key = place + name
            if key not in model:
                if place == NORMALISERS[0]:
                    raise WeightsError(f"{annotation.id}: the checkpoint has no {key} to check the input by.")
                continue
            found = model[key].flatten().tolist()
            if len(found) != 3 or any(abs(a - b) > 1e-6 for a, b in zip(found, expected, strict=True)):
                raise WeightsError(
                    f"{annotation.id}: its own {key} is {found}; {list(expected)} was expected."
                )
