"""The embedded zoo: small classifiers whose weights and training data ship with the package."""

from __future__ import annotations

from securitynet_hub.annotations import Annotation
from securitynet_hub.targets import Target
from securitynet_hub.weights import load_weights
from securitynet_hub.zoo.networks import NETWORKS, TRANSFORM


def load(annotation: Annotation) -> Target:
    """Build the annotated network and load its verified weights, every key matched."""
    module = NETWORKS[annotation.architecture](annotation.num_classes)
    module.load_state_dict(load_weights(annotation), strict=True)
    return Target(
        annotation=annotation,
        module=module,
        transform=TRANSFORM,
        num_classes=annotation.num_classes,
    )
