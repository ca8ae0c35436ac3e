"""Count right answers, and find the accuracy that a model is published with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.annotations.schema import Annotation


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
