"""What a detector needs in order to run: the words for tables, and the check that says what is missing.

Tables of detectors are written without importing torch, so this file imports it inside the checks alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
    from securitynet_hub.models.target import Target

    Check = Callable[[Target, DetectorInputs], str | None]


@dataclass(frozen=True)
class Need:
    """One thing that a detector needs. Calling it returns why the detector cannot run, or None.

    Attributes:
        words: what is needed, in a few words.
        check: returns the sentence that refuses a target or its inputs, or None.

    >>> needs_classes(3).words
    '3 or more classes'
    """

    words: str
    check: Check = field(repr=False)

    def __call__(self, target: Target, inputs: DetectorInputs) -> str | None:
        """Return why the detector cannot run on this target with these inputs, or None."""
        return self.check(target, inputs)


def need(words: str) -> Callable[[Check], Need]:
    """Return a decorator that makes a `Need` of a check."""
    return lambda check: Need(words, check)


@need("clean images")
def needs_clean(target: Target, inputs: DetectorInputs) -> str | None:
    """Require clean images."""
    return None if inputs.clean is not None and len(inputs.clean) else "it needs clean images"


@need("images to judge")
def needs_inputs(target: Target, inputs: DetectorInputs) -> str | None:
    """Require images to judge."""
    found = inputs.inputs is not None and len(inputs.inputs)
    return None if found else "it judges images, and none are suspected: pass some as inputs (--inputs)"


@need("training images with their labels")
def needs_training(target: Target, inputs: DetectorInputs) -> str | None:
    """Require training images and their labels."""
    found = inputs.training is not None and inputs.labels is not None and len(inputs.training)
    return (
        None
        if found
        else "it judges training images with the labels that they were trained with, and has none"
    )


def needs_classes(minimum: int) -> Need:
    """Return the need for a minimum number of classes."""

    def check(target: Target, inputs: DetectorInputs) -> str | None:
        enough = target.num_classes >= minimum
        return None if enough else f"it needs {minimum} or more classes, the model has {target.num_classes}"

    return Need(f"{minimum} or more classes", check)


@need("more clean images than classes")
def needs_more_images_than_classes(target: Target, inputs: DetectorInputs) -> str | None:
    """Require so many clean images that two of them share a label."""
    count = 0 if inputs.clean is None else len(inputs.clean)
    if count > target.num_classes:
        return None
    return (
        f"it needs more clean images than classes; there are {count} images and {target.num_classes} classes"
    )


@need("images of height and width")
def needs_flat_images(target: Target, inputs: DetectorInputs) -> str | None:
    """Require images with two spatial axes."""
    axes = len(target.transform.shape)
    return None if axes == 3 else f"it needs images of height and width, the model takes {axes - 1} axes"


@need("layers with parameters")
def needs_layers(target: Target, inputs: DetectorInputs) -> str | None:
    """Require layers with parameters, whose activations the detector reads."""
    return None if any(True for _ in target.module.parameters()) else "it needs layers with parameters"


@need("a last linear layer")
def needs_last_layer(target: Target, inputs: DetectorInputs) -> str | None:
    """Require logits that are linear in the features of a last layer."""
    from securitynet_hub.models.last_layer import find_last_layer

    found = find_last_layer(target.module, target.transform.shape)
    return None if found else "its logits are not those of one linear layer"


@need("BatchNorm")
def needs_batch_norm(target: Target, inputs: DetectorInputs) -> str | None:
    """Require BatchNorm layers with parameters."""
    from securitynet_hub.attacks.backdoor.representations import batch_norms

    return None if batch_norms(target.module) else "it needs a model with BatchNorm"


@need("gradients down to the pixels")
def needs_pixel_space(target: Target, inputs: DetectorInputs) -> str | None:
    """Require a preprocessing that gradients can pass."""
    from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, has_gradients

    try:
        PixelSpace.from_target(target)
    except ValueError as error:
        return str(error).removesuffix(".")
    return None if has_gradients(target) else f"no gradient of {target.id} reaches its input"


FROM_IMAGES: tuple[Need, ...] = (needs_inputs, needs_clean)
"""What every detector of inputs needs."""

FROM_TRAINING: tuple[Need, ...] = (needs_training, needs_layers)
"""What every detector of training images needs."""
