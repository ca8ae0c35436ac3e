"""Calibration: how far a classifier's confidence is from its accuracy."""

from __future__ import annotations

import math
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores, as_array
from securitynet_hub.statistics.means import mean_interval
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, Interval
from securitynet_hub.statistics.signals import confidence, correctness

BINS = 15


class Calibration(TypedDict):
    """Calibration of one classifier on labelled samples."""

    ece: float
    bins: int
    brier: float
    brier_ci: Interval | None
    n: int


def measure_calibration(
    outputs: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    from_logits: bool,
    bins: int = BINS,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Calibration:
    """Measure the calibration of posteriors p against labels y.

        ece    sum_b n_b / n |right_b - conf_b| over bins b of the top posterior, ((b - 1) / B, b / B]
        brier  mean of sum_k (p_k - 1[y = k])^2, in 0..2

    with right_b the share of bin b's samples whose top class is the label and conf_b their mean top
    posterior: the expected calibration error of Guo et al. 2017 (arXiv 1706.04599, eq. 3; 15 bins there),
    and Brier 1950. Smaller is better for both. Ties go to the first class. The ECE of few samples is biased
    upwards and resampling adds to the bias, so the ECE has no interval here.

    Args:
        outputs: shape (n, classes).
        labels: shape (n,), integers.
        from_logits: whether outputs are logits or probabilities.
        bins: the number of bins B, 1 or more.
        confidence_level: level of the Brier score's interval (`means.mean_interval`).

    Returns:
        ece, bins, brier with brier_ci (None for a single sample), n.

    Raises:
        ValueError: as `signals.confidence`, or bins is not a count.

    >>> sure, unsure = [0.9, 0.1], [0.6, 0.4]
    >>> result = measure_calibration([sure, sure, unsure], [0, 1, 0], from_logits=False)
    >>> round(result["ece"], 3)  # 2/3 |1/2 - 0.9| + 1/3 |1 - 0.6|
    0.4
    >>> round(result["brier"], 3)  # (0.02 + 1.62 + 0.32) / 3
    0.653
    """
    if not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"bins must be a count of 1 or more; got {bins!r}.")
    right = correctness(outputs, labels, from_logits=from_logits)
    p = _posteriors(as_array(outputs, "outputs"), from_logits)
    p_label = confidence(outputs, labels, from_logits=from_logits)
    top = np.minimum(p.max(1), 1)
    place = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, right - top, minlength=bins)
    squares = (p**2).sum(1) - 2 * p_label + 1
    n = len(right)
    interval = mean_interval(squares, bounds=(0, 2), confidence_level=confidence_level) if n > 1 else None
    return Calibration(
        ece=float(np.abs(gaps).sum() / n),
        bins=int(bins),
        brier=math.fsum(squares) / n,
        brier_ci=interval,
        n=n,
    )


def _posteriors(outputs: npt.NDArray[Any], from_logits: bool) -> Scores:
    from scipy.special import softmax

    values: Scores = outputs.astype(np.float64)
    if not from_logits:
        return values
    posteriors: Scores = softmax(values, axis=1)
    return posteriors
