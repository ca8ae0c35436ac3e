"""The embedded zoo: small classifiers whose weights and training data ship with the package."""

from __future__ import annotations

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM


def build(annotation: Annotation) -> tuple[torch.nn.Module, Transform]:
    """Return the annotated network, and the preprocessing that all of the zoo share."""
    return NETWORKS[annotation.architecture](annotation.num_classes), TRANSFORM
