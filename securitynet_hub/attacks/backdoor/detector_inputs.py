"""What an auditor gives a detector beside the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.data.pixels import Pixels

if TYPE_CHECKING:
    from securitynet_hub.models.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorInputs:
    """What a detector may use beside the model.

    Attributes:
        clean: shape (n, height, width, channels), uint8: clean images of the model's domain.
        inputs: shape (m, height, width, channels), uint8: images to judge, for detectors of inputs.
        training: shape (k, height, width, channels), uint8: images that the model was trained on, for
            detectors of training images.
        labels: shape (k,): the labels that the model was trained with.
        beside: clean models of the same classes and images, which `twins` compares the model with.
        seed: decides everything that a detector draws.
    """

    clean: Pixels | None = field(default=None, repr=False)
    inputs: Pixels | None = field(default=None, repr=False)
    training: Pixels | None = field(default=None, repr=False)
    labels: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    beside: tuple[Target, ...] = ()
    seed: int = 0


def given(images: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """Return images that a detector's needs guarantee to be there."""
    assert images is not None
    return images
