"""Count right answers, and find the accuracy that a model is published with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.annotations.schema import Annotation

ROWS = 1 << 12
"""Answers that are looked at together."""


class Accuracy(NamedTuple):
    """The numbers of members and non-members, and for how many of them the top class is the label."""

    members: int
    members_right: int
    nonmembers: int
    nonmembers_right: int


def top_classes(logits: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the class of each answer, ties to the first; NumPy alone would copy a part of a larger array.

    >>> top_classes(np.array([[0.0, 1.0, 9.0], [2.0, 2.0, 9.0]])[:, :2])
    array([1, 0])
    """
    parts = [logits[start : start + ROWS].argmax(1) for start in range(0, len(logits), ROWS)]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


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
    right = top_classes(logits) == labels
    n, hits = int(is_member.sum()), int(right[is_member].sum())
    return Accuracy(n, hits, len(labels) - n, int(right.sum()) - hits)


def published_accuracy(annotation: Annotation) -> float | None:
    """Return the accuracy that the publisher reports, else SecurityNet's measured one, else None."""
    reported: float | None = annotation.trusted("reported_accuracy")
    measured: float | None = annotation.trusted("test_accuracy")
    return measured if reported is None else reported
