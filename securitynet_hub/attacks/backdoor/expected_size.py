"""How large each class's trigger should be by nature, as the model's answers to clean images say.

Classes differ by nature: clean images of clothes are nearly taken for bags, but not for sneakers, so that a
small trigger turns any of them into a bag in every clean model. How nearly they are shows in the logits of
clean images, without any trigger. A class is conspicuous if its trigger is smaller than these predict.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.backdoor.calibration import log_norms
from securitynet_hub.core.arrays import Scores, as_array

MIN_OTHERS = 4
"""Least number of other classes from which a class's size is predicted."""

FLAT_CLASSES = 8
"""Number of further classes without any slope that are imagined beside those to which a line is fitted: the
slope of a line through nine points is uncertain, and half of it is the better guess."""

GAP = "logits by which the class loses clean images, on average"
"""What a gap is, in words."""

MOST_CLASSES = 1000
"""The most classes that records are adjusted for: the work grows with the square of their number."""


class Adjusted(NamedTuple):
    """How far the most conspicuous size lies below the one that is predicted.

    Attributes:
        score: log2(predicted size / size): 1 where it is half as large; higher = more likely poisoned. None
            where too few classes have a size.
        suspect: place of the class.
        below: shape (classes,), the same for each class; NaN where nothing can be said.
    """

    score: float | None
    suspect: int | None
    below: Scores


def class_gaps(logits: npt.ArrayLike, classes: npt.ArrayLike) -> Scores:
    """Return by how much each class loses clean images, on average.

    The gap of class t is the mean of max_i z_i(x) - z_t(x) over the images x that are answered otherwise.

    Args:
        logits: shape (n, all classes), of clean images.
        classes: shape (k,), the classes whose gaps are wanted.

    Returns:
        Shape (k,), in logits; NaN for a class that all images are answered with.

    >>> class_gaps([[5.0, 1.0, 3.0], [4.0, 2.0, 1.0], [0.0, 1.0, 3.0]], [0, 2])
    array([3. , 2.5])
    """
    lost, answers, wanted = _lost(logits, classes)
    return _means(lost, answers[:, None] != wanted)


def source_gaps(logits: npt.ArrayLike, classes: npt.ArrayLike) -> Scores:
    """Return by how much each class loses the images that are answered with another one, on average.

    Args:
        logits: shape (n, all classes), of clean images.
        classes: shape (k,), the classes whose gaps are wanted.

    Returns:
        Shape (k, k), from each answer (row) to each class (column), in logits; NaN on the diagonal and where
        no image is answered so.

    >>> source_gaps([[5.0, 1.0, 3.0], [4.0, 2.0, 1.0], [0.0, 1.0, 3.0]], [0, 2])
    array([[nan, 2.5],
           [3. , nan]])
    """
    lost, answers, wanted = _lost(logits, classes)
    rows = [_means(lost, np.broadcast_to((answers == source)[:, None], lost.shape)) for source in wanted]
    gaps = np.stack(rows)
    np.fill_diagonal(gaps, np.nan)
    return gaps


def adjust_sizes(sizes: npt.ArrayLike, gaps: npt.ArrayLike) -> Adjusted:
    """Compare each class's size with the one that its gap and the model's other classes predict.

    Class t lies, with the log2 gaps u and the log2 sizes v of the n other classes,

        s_t = a_t + b_t u_t - v_t,      b_t = cov(u, v) / var(u) * n / (n + 8),      a_t = median(v - b_t u)

    octaves below what is predicted; its own size has no part in that. The unit of the gaps does not matter.

    Args:
        sizes: shape (classes,) or (restarts, classes): norms of masks or sizes of changes; NaN where no
            trigger worked; medians over restarts count.
        gaps: shape (classes,), of `class_gaps`.

    Raises:
        ValueError: sizes or gaps of another shape, negative or infinite.

    >>> gaps = np.array([1.0, 2, 4, 8, 16, 32])
    >>> nature, planted = [1.0, 2, 4, 8, 16, 32], [1.0, 2, 4, 8, 1.5, 32]
    >>> adjust_sizes(nature, gaps).suspect, adjust_sizes(planted, gaps).suspect
    (0, 4)
    """
    below, u, v = log_norms(sizes), log_norms(gaps), log_norms(sizes)
    if u.shape != v.shape:
        raise ValueError(f"gaps must be for {len(v)} classes; got {len(u)}.")
    known = np.isfinite(u) & np.isfinite(v)
    for label in range(len(v)):
        others = known & (np.arange(len(v)) != label)
        below[label] = np.nan
        if known[label] and others.sum() >= MIN_OTHERS:
            apart = u[others] - u[others].mean()
            shrunk = others.sum() / (others.sum() + FLAT_CLASSES)
            slope = shrunk * float(apart @ v[others]) / max(float(apart @ apart), 1e-12)
            below[label] = np.median(v[others] - slope * u[others]) + slope * u[label] - v[label]
    if np.isnan(below).all():
        return Adjusted(None, None, below)
    suspect = int(np.nanargmax(below))
    return Adjusted(float(below[suspect]), suspect, below)


def adjusted_figures(sizes: npt.ArrayLike, gaps: Scores, classes: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return the gaps, and what `adjust_sizes` says of the model, or nothing of too many classes."""
    if len(classes) > MOST_CLASSES:
        return {}
    found = adjust_sizes(sizes, gaps)
    return {
        "gaps": as_list(gaps),
        "adjusted_score": found.score,
        "adjusted_suspect": None if found.suspect is None else int(classes[found.suspect]),
    }


def as_list(values: npt.NDArray[Any]) -> list[Any]:
    """Return numbers for a record, None for NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def _lost(
    logits: npt.ArrayLike, classes: npt.ArrayLike
) -> tuple[Scores, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return by how much each class loses each image, the answers, and the classes."""
    values, wanted = as_array(logits, "logits").astype(np.float64), as_array(classes, "classes")
    if values.ndim != 2 or not values.size or wanted.dtype.kind not in "iu":
        raise ValueError(
            f"logits must be of shape (images, classes), classes whole numbers; got {values.shape} and "
            f"{wanted.dtype}."
        )
    return values.max(1, keepdims=True) - values[:, wanted], values.argmax(1), wanted.astype(np.int64)


def _means(values: Scores, counted: npt.NDArray[np.bool_]) -> Scores:
    """Return the mean of what counts in each column; NaN where nothing does."""
    counts = counted.sum(0)
    return np.where(counts > 0, (values * counted).sum(0) / np.maximum(counts, 1), np.nan)
