"""What a detector is given beside a model, what must hold for it to run, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from securitynet_hub.attacks import kind
from securitynet_hub.attacks.backdoor.inversion import Inversion
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.models.target import Target

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorInputs:
    """What a detector may use beside the model.

    Attributes:
        clean: shape (n, height, width, channels), uint8: clean images of the model's domain.
        inputs: of the same form: images of which some may carry a trigger; for detectors of inputs.
        training: of the same form: images that the model was trained on; for detectors of training images.
        labels: shape (training images,): the labels that they were trained with.
        seed: of everything that a detector draws.
    """

    clean: Pixels | None = field(default=None, repr=False)
    inputs: Pixels | None = field(default=None, repr=False)
    training: Pixels | None = field(default=None, repr=False)
    labels: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What a detector says of a model, or of each of the images that it judges.

    Attributes:
        score: of the model, higher = more likely poisoned; None where nothing could be told.
        suspect: the class that a backdoor would lead to; None where the detector names none.
        figures: everything else that belongs into a record.
        inversion: the triggers, of a detector that recovers them.
        scores: shape (images,), higher = more likely poisoned, of a detector of inputs or training images.
    """

    score: float | None = None
    suspect: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    inversion: Inversion | None = None
    scores: npt.NDArray[np.float64] | None = None


Need = Callable[[Target, DetectorInputs], "str | None"]
"""Why a detector cannot run, or None."""


@dataclass(frozen=True, kw_only=True)
class Attack(kind.Attack):
    """One detector: ``run(target, inputs, **settings)`` returns a `Finding`.

    Attributes:
        needs: functions that say why it cannot run on a target, or None.
        judges: the ``model``, each of the ``inputs``, or each of the ``training`` images.
        costly: whether it asks thousands of questions about each image, so that it is given few.
        per_class: what its figures with one value for each class are, by their names in its results.
    """

    kind: ClassVar[str] = "backdoor-detection"
    supplied: ClassVar[frozenset[str]] = frozenset({"clean", "seed", "on_step"})

    needs: tuple[Need, ...] = ()
    judges: Literal["model", "inputs", "training"] = "model"
    costly: bool = False
    per_class: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def why_not(self, target: Target, inputs: DetectorInputs) -> str | None:
        """Return the first reason why the detector cannot run, or None."""
        return next(filter(None, (need(target, inputs) for need in self.needs)), None)


def given(images: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """Return images that one of a detector's needs has made sure of."""
    assert images is not None
    return images


def needs_clean(target: Target, inputs: DetectorInputs) -> str | None:
    """Tell that clean images are missing."""
    return None if inputs.clean is not None and len(inputs.clean) else "it needs clean images"


def needs_inputs(target: Target, inputs: DetectorInputs) -> str | None:
    """Tell that there are no inputs to judge."""
    given = inputs.inputs is not None and len(inputs.inputs)
    return None if given else "it judges images, and none are suspected: pass some as inputs (--inputs)"


def needs_training(target: Target, inputs: DetectorInputs) -> str | None:
    """Tell that training images or their labels are missing."""
    given = inputs.training is not None and inputs.labels is not None and len(inputs.training)
    return (
        None
        if given
        else "it judges training images with the labels that they were trained with, and has none"
    )


def needs_classes(fewest: int) -> Need:
    """Return the need for so many classes."""

    def need(target: Target, inputs: DetectorInputs) -> str | None:
        enough = target.num_classes >= fewest
        return None if enough else f"it needs {fewest} or more classes, the model has {target.num_classes}"

    return need


def needs_more_images_than_classes(target: Target, inputs: DetectorInputs) -> str | None:
    """Tell that two clean images need not share a label."""
    count = 0 if inputs.clean is None else len(inputs.clean)
    if count > target.num_classes:
        return None
    return (
        f"it needs more clean images than classes; there are {count} images and {target.num_classes} classes"
    )


def needs_flat_images(target: Target, inputs: DetectorInputs) -> str | None:
    """Tell that images are no pictures of height, width and channels."""
    axes = len(target.transform.shape)
    return None if axes == 3 else f"it needs images of height and width, the model takes {axes - 1} axes"


def needs_layers(target: Target, inputs: DetectorInputs) -> str | None:
    """Tell that the model has no layers with parameters, whose activations could be looked at."""
    return None if any(True for _ in target.module.parameters()) else "it needs layers with parameters"


def needs_batch_norm(target: Target, inputs: DetectorInputs) -> str | None:
    """Tell that the model has no BatchNorm."""
    return None if batch_norms(target.module) else "it needs a model with BatchNorm"


def needs_pixel_space(target: Target, inputs: DetectorInputs) -> str | None:
    """Tell that gradients cannot reach the pixels."""
    try:
        PixelSpace.of(target)
    except ValueError as error:
        return str(error).removesuffix(".")
    return None


def batch_norms(module: torch.nn.Module) -> list[Any]:
    """List the BatchNorm layers that have parameters, in the order in which they are registered."""
    return [part for part in module.modules() if isinstance(part, BatchNorm) and part.affine]


FROM_IMAGES: tuple[Need, ...] = (needs_inputs, needs_clean)
"""What every detector of inputs needs."""

FROM_TRAINING: tuple[Need, ...] = (needs_training, needs_layers)
"""What every detector of training images needs."""
