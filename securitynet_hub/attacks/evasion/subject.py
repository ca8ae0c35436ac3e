"""What is attacked: a classifier of pixels, and the images in the order in which they are attacked."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np

from securitynet_hub.attacks.evasion.classifier import PixelClassifier
from securitynet_hub.attacks.evasion.kind import IMAGES, Options
from securitynet_hub.attacks.evasion.threat import Threat
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.core.arrays import Labels, Rows, shortened
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.models.network_size import Divisible
from securitynet_hub.models.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model, its images and what the attacker may do to them.

    Attributes:
        classifier: the model.
        images: where the images come from.
        rows: shape (n,): which of them are attacked, in random order.
        threat: what the attacker may do.
        seed: decides what attacks draw.
    """

    classifier: PixelClassifier
    images: ImageSource
    rows: Rows
    threat: Threat
    seed: int

    @classmethod
    def of(cls, target: Target, data: AuditData, options: Options, seed: int) -> Subject:
        """Find what is attacked.

        Raises:
            ValueError: eps is too large for these images, there is none, or the preprocessing cannot be
                divided.

        >>> from securitynet_hub.attacks.subject import known_data
        >>> from securitynet_hub.models.loading import load_target
        >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
        >>> subject = Subject.of(target, known_data(target.annotation), Options(robust_images=50), seed=0)
        >>> len(subject.rows), round(subject.threat.eps, 4)
        (50, 0.0314)
        """
        threat = Threat.of(options.norm, options.eps)
        images = data.images
        if options.ball == "crop":
            target, images = _cropped(target, images)
        most = options.robust_images or (None if options.width is not None else IMAGES)
        rows = np.random.default_rng(seed).permutation(data.split.nonmembers)[:most]
        if not len(rows):
            raise ValueError(f"{data.images.name} has no image that {target.id} was not trained on.")
        values = images.read(int(rows[0])).size
        if threat.norm == "L2" and threat.eps >= math.sqrt(values):
            raise ValueError(
                f"eps must be below {math.sqrt(values):.3g} in the norm L2 for images of {values:,} values: "
                f"beyond it any image is near to any other, as black to white is 1; got "
                f"{shortened(options.eps)}."
            )
        return cls(classifier=PixelClassifier(target), images=images, rows=rows, threat=threat, seed=seed)

    def read(self, rows: Rows) -> tuple[list[Pixels], Labels]:
        """Return some images, each at its own size, and their labels."""
        return [self.images.read(int(row)) for row in rows], self.images.labels[np.asarray(rows)]


def _cropped(target: Target, images: ImageSource) -> tuple[Target, ImageSource]:
    """Return images that are resized and cropped already, and the target that takes them."""
    divided = target.transform.divided() if isinstance(target.transform, Divisible) else None
    if divided is None:
        raise ValueError(
            f"the preprocessing of {target.id} cannot be divided into a crop and the rest: leave out "
            'ball="crop" (--ball crop).'
        )
    crop, rest = divided
    sized = copy.copy(target)  # `replace` would put the caller's module into eval mode
    object.__setattr__(sized, "transform", rest)
    return sized, images.change(crop, target.transform.shape)
