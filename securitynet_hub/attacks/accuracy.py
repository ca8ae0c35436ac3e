"""Compare a model's accuracy with the published one: a test of labels, preprocessing and weights at once."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import AccuracyWarning
from securitynet_hub.statistics.rates import wilson_interval

TOLERANCE = 0.1
"""Largest gap below the published accuracy without a warning: another crop or resize costs up to 0.07."""

SURE = 0.999
"""Confidence level at which the gap must be larger than that for a warning."""


class Accuracy(NamedTuple):
    """The numbers of members and non-members, and for how many of them the top class is the label."""

    members: int
    members_right: int
    nonmembers: int
    nonmembers_right: int


def count_right(
    logits: npt.NDArray[Any], labels: npt.NDArray[np.int64], is_member: npt.NDArray[np.bool_]
) -> Accuracy:
    """Count right answers among members and among non-members.

    Args:
        logits: shape (n, classes); ties go to the first class.
        labels: shape (n,).
        is_member: shape (n,).

    >>> count_right(np.array([[1.0, 0], [0, 1], [0, 1]]), np.array([0, 0, 1]), np.array([True, True, False]))
    Accuracy(members=2, members_right=1, nonmembers=1, nonmembers_right=1)
    """
    right = logits.argmax(1) == labels
    n, hits = int(is_member.sum()), int(right[is_member].sum())
    return Accuracy(n, hits, len(labels) - n, int(right.sum()) - hits)


def published_accuracy(annotation: Annotation) -> float | None:
    """Return the accuracy that the publisher reports, else SecurityNet's measured one, else None."""
    reported: float | None = annotation.trusted("reported_accuracy")
    measured: float | None = annotation.trusted("test_accuracy")
    return measured if reported is None else reported


def warn_of_low_accuracy(annotation: Annotation, right: int, asked: int) -> None:
    """Warn if a model's accuracy on new images is far below the published one.

    Then the order of the classes, the images or the preprocessing probably differ from the author's, and no
    figure measured on them describes the model. "Far below" means that the 99.9 % Wilson interval of the
    accuracy lies more than 0.1 below the published accuracy.

    Args:
        annotation: annotation of the model.
        right: number of right answers, among images that the model was not trained on.
        asked: number of these images.

    >>> from securitynet_hub.annotations.schema import load_annotations
    >>> row = load_annotations()["pytorchcv/cifar10/resnet20"]
    >>> row.reported_accuracy
    0.9403
    >>> warn_of_low_accuracy(row, right=890, asked=1000)  # says nothing
    """
    published = published_accuracy(annotation)
    if published is None:
        return
    interval = wilson_interval(right, asked, confidence_level=SURE)
    if interval.high < published - TOLERANCE:
        warnings.warn(
            f"{annotation.id} is right on {right} of {asked} images that it was not trained on, "
            f"{right / asked:.1%}; published are {published:.1%}. Check that the images are of "
            f"{annotation.dataset}, that their classes stand in the order of the model's, and its "
            "preprocessing: otherwise these figures do not describe the model.",
            AccuracyWarning,
            stacklevel=4,  # who called `audit`
        )
