"""What a detector is given beside a model, what must hold for it to run, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.backdoor.ibd_psc import batch_norms
from securitynet_hub.attacks.backdoor.inversion import Inversion
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.models.target import Target

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clues:
    """What a detector may use beside the model.

    Attributes:
        clean: shape (n, height, width, channels), uint8: clean images of the model's domain.
        inputs: of the same form: images of which some may carry a trigger; for detectors of inputs.
        training: of the same form: images that the model was trained on; for detectors of training images.
        told: shape (training images,): the labels that it was told.
        seed: of everything that a detector draws.
    """

    clean: Pixels | None = field(default=None, repr=False)
    inputs: Pixels | None = field(default=None, repr=False)
    training: Pixels | None = field(default=None, repr=False)
    told: npt.NDArray[np.int64] | None = field(default=None, repr=False)
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


Need = Callable[[Target, Clues], "str | None"]
"""Why a detector cannot run, or None."""


class Detector(NamedTuple):
    """A row of `detectors.DETECTORS`.

    Attributes:
        run: (target, clues, settings) -> finding.
        takes: the function whose keyword arguments are the detector's settings.
        needs: what must hold.
        judges: the ``model``, each of the ``inputs``, or each of the ``training`` images.
        costly: whether it asks thousands of questions about each image, so that it is given few.
    """

    run: Callable[..., Finding]
    takes: Callable[..., Any]
    needs: tuple[Need, ...] = ()
    judges: Literal["model", "inputs", "training"] = "model"
    costly: bool = False


def needs_clean(target: Target, clues: Clues) -> str | None:
    """Tell that clean images are missing."""
    return None if clues.clean is not None and len(clues.clean) else "it needs clean images"


def needs_inputs(target: Target, clues: Clues) -> str | None:
    """Tell that there are no inputs to judge."""
    given = clues.inputs is not None and len(clues.inputs)
    return None if given else "it judges images, and none are suspected: pass some as inputs"


def needs_training(target: Target, clues: Clues) -> str | None:
    """Tell that training images or the labels they were told with are missing."""
    given = clues.training is not None and clues.told is not None and len(clues.training)
    return None if given else "it judges training images with the labels that were told, and has none"


def needs_classes(fewest: int) -> Need:
    """Return the need for so many classes."""

    def need(target: Target, clues: Clues) -> str | None:
        enough = target.num_classes >= fewest
        return None if enough else f"it needs {fewest} or more classes, the model has {target.num_classes}"

    return need


def needs_more_images_than_classes(target: Target, clues: Clues) -> str | None:
    """Tell that two clean images need not share a label."""
    count = 0 if clues.clean is None else len(clues.clean)
    if count > target.num_classes:
        return None
    return (
        f"it needs more clean images than classes; there are {count} images and {target.num_classes} classes"
    )


def needs_flat_images(target: Target, clues: Clues) -> str | None:
    """Tell that images are no pictures of height, width and channels."""
    axes = len(target.transform.shape)
    return None if axes == 3 else f"it needs images of height and width, the model takes {axes - 1} axes"


def needs_layers(target: Target, clues: Clues) -> str | None:
    """Tell that the model has no layers with parameters, whose activations could be looked at."""
    return None if any(True for _ in target.module.parameters()) else "it needs layers with parameters"


def needs_batch_norm(target: Target, clues: Clues) -> str | None:
    """Tell that the model has no BatchNorm."""
    return None if batch_norms(target.module) else "it needs a model with BatchNorm"


def needs_pixel_space(target: Target, clues: Clues) -> str | None:
    """Tell that gradients cannot reach the pixels."""
    try:
        PixelSpace.of(target)
    except ValueError as error:
        return str(error).removesuffix(".")
    return None
