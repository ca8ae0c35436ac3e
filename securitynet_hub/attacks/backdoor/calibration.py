"""A threshold for trigger norms, learnt from clean models of the same architecture and data.

Classes differ by nature: in every clean model a small trigger turns any image into a bag, and only a large
one into a sneaker. With clean models at hand, a class's norm is compared with the typical norm of that class,
not with the norms of the model's other classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores, as_array

MIN_OCTAVES = 1.0
"""Minimum distance of a flagged class's norm below the typical one, in octaves: it is at most half as large.
A few clean models alone do not show how far the norms of another clean model may vary."""

MIN_MODELS = 3
"""Minimum number of clean models: with two, only one would be left to compare with when each is judged."""


class Verdict(NamedTuple):
    """How far the most conspicuous norm lies below the typical norm of its class.

    Attributes:
        score: log2(typical norm / norm): 1 where it is half as large; higher = more likely poisoned.
        suspect: the class.
        flagged: whether the score is above the threshold.
    """

    score: float
    suspect: int
    flagged: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class NormCalibration:
    """The typical norms of clean models, and the threshold learnt from them.

    Attributes:
        typical: shape (classes,), log2 of the median norm; NaN for a class for which no trigger worked.
        threshold: the score above which a model is flagged.
        scores: shape (models,), each clean model's score against the remaining clean models.
    """

    typical: Scores = field(repr=False)
    threshold: float
    scores: Scores = field(repr=False)

    def judge(self, norms: npt.ArrayLike) -> Verdict:
        """Judge another model by its norms.

        Args:
            norms: shape (classes,) or (restarts, classes), NaN where no trigger worked; medians over restarts
                count. A class without any is left out.

        Raises:
            ValueError: norms for another number of classes, or not one to judge.
        """
        logs = log_norms(norms)
        if logs.shape != self.typical.shape:
            raise ValueError(f"norms must be for {len(self.typical)} classes; got {len(logs)}.")
        distances = self.typical - logs
        if np.isnan(distances).all():
            raise ValueError("no class has both a trigger that works and a typical norm; nothing to judge.")
        suspect = int(np.nanargmax(distances))
        score = float(distances[suspect])
        return Verdict(score, suspect, score > self.threshold)


def calibrate_norms(
    clean: npt.ArrayLike, *, false_alarms: float = 0.05, least: float = MIN_OCTAVES
) -> NormCalibration:
    """Learn from clean models the typical norm of each class, and a threshold.

    Each model is scored against the medians of the remaining models. The threshold is the largest of these
    scores, after as many as the allowed share of false alarms are set aside. Of n models, another clean model
    exceeds it with a probability of about (allowed + 1) / (n + 1), so that 5 % need at least 19 models. With
    fewer models only the floor `least` keeps clean models below the threshold.

    Args:
        clean: shape (models, classes) or (models, restarts, classes): norms of at least three clean models of
            one architecture and data, with one schedule and on the same images.
        false_alarms: share of clean models that may be flagged.
        least: floor of the threshold.

    Raises:
        ValueError: fewer models, other shapes, or a share beyond 0 and 1.

    >>> known = calibrate_norms([[40, 80, 20], [42, 75, 22], [39, 82, 21], [41, 79, 19]])
    >>> known.judge([41, 20, 20])[1:], known.judge([40, 78, 21])[1:]
    ((1, True), (1, False))
    """
    models = as_array(clean, "clean")
    if models.ndim not in (2, 3) or len(models) < MIN_MODELS:
        raise ValueError(
            f"clean must be norms of {MIN_MODELS} or more models, shape (models, [restarts,] classes); got "
            f"{models.shape}."
        )
    if not 0 <= false_alarms < 1:
        raise ValueError(f"false_alarms must be a share, 0 up to 1; got {false_alarms}.")
    logs = np.stack([log_norms(norms) for norms in models])
    scores = np.array(
        [
            NormCalibration(
                typical=_typical(np.delete(logs, k, 0)), threshold=np.inf, scores=np.empty(0)
            ).judge(models[k]).score
            for k in range(len(models))
        ]
    )  # fmt: skip
    allowed = max(0, int(np.floor(round(false_alarms * (len(models) + 1), 9))) - 1)
    return NormCalibration(
        typical=_typical(logs),
        threshold=max(float(np.sort(scores)[len(scores) - 1 - allowed]), least),
        scores=scores,
    )


def log_norms(norms: npt.ArrayLike) -> Scores:
    """Return log2 of each class's norm, the median over restarts; NaN where no trigger worked.

    >>> log_norms([[4.0, np.nan], [16.0, np.nan]])
    array([ 3., nan])
    """
    values = np.atleast_2d(as_array(norms, "norms").astype(np.float64))
    if (
        values.ndim != 2
        or not values.size
        or not (np.isnan(values) | ((values >= 0) & np.isfinite(values))).all()
    ):
        raise ValueError(
            "norms must be of shape (classes,) or (restarts, classes), finite and not negative, or NaN where "
            f"no trigger worked; got {values.shape}."
        )
    return _typical(np.log2(np.maximum(values, 1e-6)))


def _typical(logs: Scores) -> Scores:
    """Return the medians of the columns; NaN for a column without numbers."""
    columns = [column[np.isfinite(column)] for column in logs.T]
    return np.array([np.median(column) if len(column) else np.nan for column in columns])
